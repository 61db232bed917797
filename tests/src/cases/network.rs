//! Networks: a container on a bridge, as Docker connects it, talks to this machine and this machine to it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::agree;
use crate::{
    bundle::Bundle,
    command::{finish_within, id, kill, runtime, start},
};

/// This machine's end of the bridge, and the container's.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 2);
/// Longest that one case's container may take.
const LIMIT: Duration = Duration::from_secs(120);

fn sh(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-ec", script]).output().context("sh")?;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A network namespace with `eth0`, whose other end is on a bridge of this machine.
#[derive(Debug)]
struct Net {
    name: String,
    /// The interface's end on the bridge.
    outer: String,
}

impl Net {
    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let net = Self { name: format!("rfnet{number}"), outer: format!("rfv{number}") };
        let Self { name, outer } = &net;
        sh(&format!(
            "ip link add rfbr type bridge; ip addr add {OUTSIDE}/24 dev rfbr; ip -6 addr add fd31::1/64 dev rfbr nodad
             ip link set rfbr up
             ip netns add {name}; ip link add {outer} type veth peer name eth0 netns {name}
             ip link set {outer} master rfbr up
             ip -n {name} link set eth0 address 02:42:0a:e7:00:02
             ip -n {name} addr add {INSIDE}/24 brd + dev eth0; ip -n {name} -6 addr add fd31::2/64 dev eth0 nodad
             ip -n {name} link set lo up; ip -n {name} link set eth0 up
             ip -n {name} route add default via {OUTSIDE}; ip -n {name} -6 route add default via fd31::1"
        ))?;
        Ok(net)
    }

    /// A bundle whose container is in this network and runs `script`.
    fn bundle(&self, script: &str) -> Result<Bundle> {
        let mut bundle = Bundle::new("network", &["sh", "-c", script])?;
        let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().context("namespaces")?;
        namespaces.retain(|one| one["type"] != "network");
        namespaces.push(json!({ "type": "network", "path": format!("/run/netns/{}", self.name) }));
        for set in ["bounding", "effective", "permitted"] {
            if let Some(set) = bundle.config["process"]["capabilities"][set].as_array_mut() {
                set.push(json!("CAP_NET_RAW"));
            }
        }
        bundle.write()?;
        Ok(bundle)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = sh(&format!("ip link del {}; ip netns del {}; ip link del rfbr", self.outer, self.name));
    }
}

/// Bytes that are not all alike.
fn bytes(len: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len.div_ceil(8)).flat_map(|_| step().to_le_bytes()).take(len).collect()
}

/// Serves one connection with `f`.
fn serve<T: Send + 'static>(
    port: u16,
    f: impl FnOnce(TcpStream) -> Result<T> + Send + 'static,
) -> Result<JoinHandle<Result<T>>> {
    let listener = TcpListener::bind((OUTSIDE, port)).context("listen")?;
    Ok(thread::spawn(move || {
        let (stream, _) = listener.accept().context("accept")?;
        stream.set_read_timeout(Some(LIMIT))?;
        f(stream)
    }))
}

/// Connects to the container, which may not listen yet.
fn connect(port: u16) -> Result<TcpStream> {
    let begin = Instant::now();
    loop {
        match TcpStream::connect_timeout(&SocketAddr::from((INSIDE, port)), Duration::from_secs(20)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT))?;
                return Ok(stream);
            }
            Err(error) if begin.elapsed() > Duration::from_secs(40) => return Err(error).context("connect"),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// A container that is ended when this is dropped.
struct Running(Option<Child>);

impl Running {
    fn start(bundle: &Bundle) -> Result<Self> {
        start(&runtime(), &bundle.path, &id()).map(|child| Self(Some(child)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            kill(child.id(), libc::SIGTERM);
            let _ = finish_within(child, Duration::from_secs(5));
        }
    }
}

/// What a container sees of its network, and whom it reaches, is as under runc.
pub(super) fn as_runc() -> Result<String> {
    let script = "ip -4 -o addr show dev eth0; ip -4 route; cat /proc/net/route; cat /sys/class/net/eth0/mtu
        cat /sys/class/net/eth0/address; ls /sys/class/net; cat /sys/class/net/eth0/operstate
        ping -c 2 -q 10.231.0.1 >/dev/null; echo ping $?; ping -c 1 -s 5000 10.231.0.1 >/dev/null; echo large $?
        ping -c 1 10.231.0.2 >/dev/null; echo self $?; ping6 -c 1 fd31::1 >/dev/null; echo six $?
        ping -c 1 -W 1 10.231.0.99 >/dev/null; echo nobody $?
        nc 10.231.0.1 7 </dev/null; echo refused $?; nslookup a.test 10.231.0.1 | tail -n 3
        nc -w 9 10.231.0.1 7070 </dev/null; echo $?";
    let run = |program: &str| {
        let net = Net::new()?;
        let bundle = net.bundle(script)?;
        let names = UdpSocket::bind((OUTSIDE, 53)).context("port 53")?;
        names.set_read_timeout(Some(Duration::from_millis(500)))?;
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let server = thread::spawn({
            let done = done.clone();
            move || {
                while !done.load(Ordering::Relaxed) {
                    answer_name(&names);
                }
            }
        });
        let hello = serve(7070, |mut stream| Ok(stream.write_all(b"hello\n")?))?;
        let output = finish_within(start(program, &bundle.path, &id())?, LIMIT);
        done.store(true, Ordering::Relaxed);
        let _ = server.join();
        let output = output?;
        match hello.join() {
            Ok(result) => result.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?,
            Err(_) => bail!("the server panicked"),
        }
        Ok(output)
    };
    let expected = run("runc").context("runc")?;
    let got = run(&runtime())?;
    // Linux says which interface of another namespace is the other end.
    agree(&expected, &got, |text| text.replace("eth0@if", "eth0 if"))
}

/// Answers a question for a name of IPv4 with 10.1.2.3, and one of IPv6 with nothing.
fn answer_name(socket: &UdpSocket) {
    let mut question = [0; 512];
    let Ok((len, from)) = socket.recv_from(&mut question) else { return };
    let v4 = question[..len].ends_with(&[0, 1, 0, 1]);
    let mut answer = question[..len].to_vec();
    if len < 12 {
        return;
    }
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, u8::from(v4), 0, 0, 0, 0]);
    if v4 {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
    }
    let _ = socket.send_to(&answer, from);
}

/// `len` bytes go out and come in, over connections that the container opens.
fn client_inside(net: &Net, len: usize) -> Result<()> {
    let data = bytes(len);
    let sent = data.clone();
    let down = serve(7001, move |mut stream| Ok(stream.write_all(&sent)?))?;
    let up = serve(7002, |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        Ok(all)
    })?;
    let bundle = net.bundle("nc 10.231.0.1 7001 </dev/null >/tmp/got && nc 10.231.0.1 7002 </tmp/got")?;
    let output = finish_within(start(&runtime(), &bundle.path, &id())?, LIMIT)?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    down.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    let got = up.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    ensure!(got == data, "{} of {len} bytes came back, or others", got.len());
    Ok(())
}

/// `len` bytes go in and come back, over one connection to the container.
fn server_inside(stream: &TcpStream, len: usize) -> Result<()> {
    let data = bytes(len);
    let (mut to, sent) = (stream.try_clone()?, data.clone());
    let writer = thread::spawn(move || {
        let result = to.write_all(&sent);
        let _ = to.shutdown(std::net::Shutdown::Write);
        result
    });
    let mut got = Vec::new();
    let read = { stream }.read_to_end(&mut got);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    read.context("read")?;
    ensure!(got == data, "{} of {len} bytes came back, or others", got.len());
    Ok(())
}

/// Some MB each way, the container being client and server.
pub(super) fn transfer() -> Result<String> {
    let len = 4 << 20;
    client_inside(&Net::new()?, len)?;
    let net = Net::new()?;
    let bundle = net.bundle("exec nc -ll -p 7 -e cat")?;
    let _running = Running::start(&bundle)?;
    server_inside(&connect(7)?, len)?;
    sh(&format!("ping -c 1 {INSIDE} >/dev/null 2>&1 || busybox ping -c 1 {INSIDE}"))?;
    sh("busybox ping -6 -c 1 fd31::2")?;
    Ok(format!("{} MiB each way", len >> 20))
}

/// A link that loses, repeats, disorders and damages packets, and one that is down for a while.
pub(super) fn faults() -> Result<String> {
    let net = Net::new()?;
    let bundle = net.bundle("exec nc -ll -p 7 -e cat")?;
    let running = Running::start(&bundle)?;
    connect(7)?;
    let outer = &net.outer;
    let faults = "delay 5ms 2ms loss 5% duplicate 2% corrupt 1% reorder 20%";
    sh(&format!(
        "modprobe sch_netem; tc qdisc add dev {outer} root netem {faults}
         tc -n {} qdisc add dev eth0 root netem {faults}",
        net.name
    ))?;
    let begin = Instant::now();
    server_inside(&connect(7)?, 1 << 20)?;
    let bad = begin.elapsed();
    sh(&format!("tc qdisc del dev {outer} root; tc -n {} qdisc del dev eth0 root", net.name))?;
    let stream = connect(7)?;
    let link = outer.clone();
    let breaks = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        sh(&format!("ip link set {link} down; sleep 2; ip link set {link} up"))
    });
    server_inside(&stream, 8 << 20)?;
    breaks.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    drop(running);
    Ok(format!("1 MiB each way through netem in {:.1} s", bad.as_secs_f32()))
}

/// Many connections at once, and as many again.
pub(super) fn connections() -> Result<String> {
    const COUNT: usize = 500;
    let net = Net::new()?;
    // The queue is longer than what comes; nobody accepts until all have come.
    let bundle = net.bundle("mkdir /w; echo text >/w/f; exec httpd -f -p 80 -h /w")?;
    let _running = Running::start(&bundle)?;
    drop(connect(80)?);
    let begin = Instant::now();
    for _ in 0..COUNT / 50 {
        let mut streams = (0..50).map(|_| connect(80)).collect::<Result<Vec<_>>>()?;
        for stream in &mut streams {
            stream.write_all(b"GET /f HTTP/1.0\r\n\r\n")?;
        }
        for mut stream in streams {
            let mut text = String::new();
            stream.read_to_string(&mut text).context("answer")?;
            ensure!(text.starts_with("HTTP/1.") && text.ends_with("text\n"), "{text:?}");
        }
    }
    Ok(format!("{COUNT} in {:.1} s", begin.elapsed().as_secs_f32()))
}
