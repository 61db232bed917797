# What perl programs do.
use strict;
use warnings;
use POSIX qw(:sys_wait_h floor strftime setsid);
use List::Util qw(sum max shuffle reduce);
use File::Temp qw(tempdir);
use File::Find;
use Data::Dumper;
use Time::HiRes qw(sleep alarm time);
use IO::Handle;
use IPC::Open3;
$| = 1;
my %count;
$count{length $_}++ for map { 'x' x ($_ % 7) } 1 .. 1000;
print join(' ', map {"$_=$count{$_}"} sort keys %count), "\n";
print sum(1 .. 1000), ' ', max(3, 9, 4), ' ', floor(-2.5), ' ', strftime('%Y-%m-%d', gmtime 86400 * 365), "\n";
my $text = "The quick brown fox";
(my $copy = $text) =~ s/(\w+)/\u\L$1/g;
print "$copy ", scalar reverse($text), ' ', join('|', $text =~ /\b(\w)/g), "\n";
$Data::Dumper::Sortkeys = 1;
print Dumper({ a => [1, 2], b => { c => undef } });
my $dir = tempdir(CLEANUP => 1);
for my $n (1 .. 20) { open my $f, '>', "$dir/$n" or die; print $f $n x 100; close $f }
my $total = 0;
find(sub { $total += -s if -f }, $dir);
print "$total\n";
pipe my $read, my $write;
my @children;
for my $n (1 .. 5) {
    my $pid = fork // die;
    if (!$pid) { syswrite $write, "$n\n"; POSIX::_exit($n) }
    push @children, $pid;
}
close $write;
print sort <$read>;
print join(' ', map { waitpid $_, 0; $? >> 8 } @children), "\n";
print `echo back tick; exit 3`, $? >> 8, "\n";
my $out = open3(my $in, my $from, undef, 'sort', '-r');
print $in "$_\n" for 1 .. 3;
close $in;
print <$from>;
waitpid $out, 0;
local $SIG{ALRM} = sub { die "alarm\n" };
eval { alarm 0.1; sleep 5; };
print $@;
local $SIG{USR1} = sub { print "got USR1\n" };
kill USR1 => $$;
system 'kill -9 $$';
print $? & 127, "\n";
my @sorted = sort { $a <=> $b } map { $_ * 7919 % 10007 } 1 .. 10000;
print "@sorted[0, 5000, 9999]\n";
print pack('A3 n C', 'abcd', 258, 65), ' ', unpack('H*', pack 'w', 300), ' ', sprintf('%.3e', 12345.678), "\n";
eval { opendir my $d, '/none' or die "$!\n" };
print $@, join(' ', (stat '/etc/passwd')[2, 3, 4]), "\n";
