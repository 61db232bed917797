# apt and dpkg install packages from files, with conffiles, a trigger (ldconfig), alternatives, and remove them again.
exec 2>&1
export DEBIAN_FRONTEND=noninteractive
installed() { dpkg -l file hello libmagic1t64 libmagic-mgc lua5.4 | awk '/^.[a-z]/ { print $1, $2, $3 }'; }

echo '# install'
apt-get -y --no-install-recommends install /usr/local/share/work/debs/*.deb; echo "status $?"
installed
dpkg --verify file hello libmagic1t64 libmagic-mgc lua5.4; echo "status $?"
# Not all are there: dpkg was told to leave some paths out.
dpkg -L file hello libmagic1t64 libmagic-mgc lua5.4 | grep / | sort -u | xargs -d '\n' ls -d 2>/dev/null >paths
xargs -d '\n' stat -c '%A %U:%G %N' <paths
xargs -d '\n' -a paths find -maxdepth 0 -type f -printf '%s %T@ %p\n'; xargs -d '\n' -a paths find -maxdepth 0 -type f -print0 | xargs -0 sha256sum
hello; lua -e 'print(_VERSION, 10 // 3)'; file -b /usr/local/share/work/debs/hello*.deb
update-alternatives --display lua-interpreter
ldconfig -p | grep magic

echo '# a changed conffile is kept'
echo '# changed' >>/etc/magic
dpkg --verify libmagic1t64
dpkg --force-confold -i /usr/local/share/work/debs/libmagic1t64*.deb; echo "status $?"
tail -n 1 /etc/magic

echo '# remove, purge'
dpkg -r file; echo "status $?"
installed
apt-get -y purge hello lua5.4 libmagic1t64 libmagic-mgc; echo "status $?"
installed
ls -d /usr/bin/hello /etc/magic /etc/alternatives/lua-interpreter
apt-get check; dpkg --audit; echo "status $?"
sha256sum </var/lib/dpkg/status
sed 's/^[-0-9]* [:0-9]* //' /var/log/dpkg.log
grep -c . /var/log/apt/term.log
