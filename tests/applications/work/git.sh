# A repository is filled, branched, merged, cloned in each way, checked, packed anew.
exec 2>&1
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@d LC_ALL=C
at=1700000000
tick() { at=$((at + 60)); export GIT_AUTHOR_DATE="$at +0100" GIT_COMMITTER_DATE="$at +0100"; }
git config --global pack.threads 1
git config --global gc.auto 0
git config --global init.defaultBranch main
git config --global advice.detachedHead false
git config --global protocol.file.allow always

echo '# fill'
git init -q repository && cd repository || exit
cp -r /usr/local/share/work/source/* . && mkdir python && cp /usr/lib/python3.13/[a-c]*.py /usr/lib/python3.13/heapq.py python
tick; git add . && git commit -qm first; echo "status $?"
for n in 1 2 3 4; do
    sed -i "s/^# *define /#define /; \$a /* change $n */" src/*.h; echo "$n" >python/new$n; [ $n = 3 ] && git mv README README.md
    tick; git add -A && git commit -qm "change $n"
done
git checkout -qb side HEAD~3; echo side >side; sed -i '1i # side' python/heapq.py; tick; git add -A; git commit -qm side
git checkout -q main; tick; git merge -q --no-edit side; echo "status $?"; git tag -a -m tag v1
git checkout -qb other HEAD~2; sed -i '1i # other' python/heapq.py; tick; git commit -qam other
tick; git merge main; echo "status $?"; git status --short; git merge --abort; git checkout -q main
git log --graph --format='%h %p %ad %s' --date=iso --stat --summary | sha256sum
git rev-parse HEAD HEAD^{tree} v1; git count-objects; git status --short | wc -l

echo '# clone'
cd .. && git clone -q repository linked && git clone -q --no-local repository piped
git clone -q --bare --mirror "file://$PWD/repository" bare; git clone -q --depth 2 "file://$PWD/repository" shallow; echo "status $?"
for one in linked piped bare shallow; do
    git -C $one fsck --full --strict --no-progress; echo "$one $? $(git -C $one rev-parse HEAD) $(git -C $one rev-list --all | wc -l)"
done
find linked/.git/objects -type f -links 2 | wc -l

echo '# gc'
for one in repository bare; do
    tick; git -C $one gc -q --prune=now; echo "status $?"
    git -C $one count-objects -v
    (cd "$(git -C $one rev-parse --absolute-git-dir)/objects/pack" && find . -type f | sort | sed 's/^/'$one' /' && sha256sum -- *.pack *.idx)
done
git -C repository verify-pack -v "$PWD"/repository/.git/objects/pack/*.idx | sha256sum
git -C repository fsck --full --strict --no-progress; echo "status $?"

echo '# push, fetch, worktree, bundle, archive'
cd piped && git checkout -qb pushed && echo x >x && git add x && tick && git commit -qm x && git push -q origin pushed; echo "status $?"
cd ../repository && git fetch -q ../shallow && git worktree add -q ../tree pushed && git -C ../tree log --oneline -1 && ls ../tree
git bundle create -q ../all.bundle --all && git bundle verify -q ../all.bundle; echo "status $?"
git archive --format=tar HEAD | sha256sum; git diff HEAD~3 HEAD | sha256sum
git grep -n 'lua_State \*L' -- src | sha256sum; git blame --date=raw python/heapq.py | sha256sum
git stash -q; echo dirty >>python/heapq.py; git stash -q && git stash list && git stash pop -q; git diff --stat
git clean -qfdx; git reset -q --hard; git status --short
