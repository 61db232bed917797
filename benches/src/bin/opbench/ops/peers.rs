//! Two parties that take turns: processes over pipes and sockets, threads over a futex.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::harness::{Body, Settings};
use crate::sys::{self, Fd};

const PIECE: usize = 64 * 1024;

/// A child process at the other end of a channel. It ends when the channel closes.
#[derive(Debug)]
struct Peer<C> {
    channel: Option<C>,
    pid: i32,
}

impl<C> Peer<C> {
    /// Forks a child that serves `theirs` until it fails or ends.
    fn new<T>(ours: C, theirs: T, serve: impl FnOnce(T) -> io::Result<()>) -> io::Result<Peer<C>> {
        let mut ours = Some(ours);
        let mut theirs = Some(theirs);
        let pid = sys::fork(|| {
            drop(ours.take());
            match theirs.take().map(serve) {
                Some(Ok(())) => 0,
                _ => 1,
            }
        })?;
        Ok(Peer { channel: ours, pid })
    }

    fn channel(&mut self) -> io::Result<&mut C> {
        self.channel.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<C> Drop for Peer<C> {
    fn drop(&mut self) {
        drop(self.channel.take());
        let _ended = sys::wait(self.pid);
    }
}

/// A byte there and back between two processes, over two pipes.
pub(crate) fn pipe(_: &Settings) -> io::Result<Body> {
    let (their_input, our_output) = sys::pipe()?;
    let (our_input, their_output) = sys::pipe()?;
    let mut peer = Peer::new((our_input, our_output), (their_input, their_output), |(input, output)| {
        let mut byte = [0u8];
        while sys::read(&input, &mut byte)? == 1 {
            sys::write(&output, &byte)?;
        }
        Ok(())
    })?;
    Ok(Box::new(move |runs| {
        let (input, output): &mut (Fd, Fd) = peer.channel()?;
        let mut byte = [0u8];
        for _ in 0..runs {
            sys::write(output, &byte)?;
            expect_byte(sys::read(input, &mut byte)?)?;
        }
        Ok(())
    }))
}

fn expect_byte(count: usize) -> io::Result<()> {
    if count == 1 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A byte there and back over a stream that both ends may use.
fn pingpong<S: Read + Write + 'static>(ours: S, theirs: S) -> io::Result<Body> {
    let mut peer = Peer::new(ours, theirs, |mut stream| {
        let mut byte = [0u8];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    })?;
    Ok(Box::new(move |runs| {
        let stream = peer.channel()?;
        let mut byte = [0u8];
        for _ in 0..runs {
            expect_byte(stream.write(&byte)?)?;
            expect_byte(stream.read(&mut byte)?)?;
        }
        Ok(())
    }))
}

/// Over a pair of Unix stream sockets.
pub(crate) fn unix(_: &Settings) -> io::Result<Body> {
    let (ours, theirs) = UnixStream::pair()?;
    pingpong(ours, theirs)
}

/// Over a TCP connection through the loopback interface.
pub(crate) fn tcp(_: &Settings) -> io::Result<Body> {
    let (ours, theirs) = tcp_pair()?;
    pingpong(ours, theirs)
}

fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    Ok((ours, theirs))
}

/// 64 KiB down a TCP connection. A batch ends when the other end has read all of it: it is told how many bytes come
/// and answers with one.
pub(crate) fn tcp_stream(_: &Settings) -> io::Result<Body> {
    let (ours, theirs) = tcp_pair()?;
    let mut peer = Peer::new(ours, theirs, |mut stream| {
        let mut buffer = vec![0u8; PIECE];
        let mut announced = [0u8; 8];
        while stream.read_exact(&mut announced).is_ok() {
            let mut left = u64::from_ne_bytes(announced) as usize;
            while left > 0 {
                match stream.read(&mut buffer[..left.min(PIECE)])? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => left -= count,
                }
            }
            stream.write_all(&[0])?;
        }
        Ok(())
    })?;
    let piece = vec![7u8; PIECE];
    Ok(Box::new(move |runs| {
        let stream = peer.channel()?;
        stream.write_all(&(runs * PIECE as u64).to_ne_bytes())?;
        for _ in 0..runs {
            stream.write_all(&piece)?;
        }
        stream.read_exact(&mut [0])
    }))
}

const OURS: u32 = 0;
const THEIRS: u32 = 1;
const OVER: u32 = 2;

/// A thread that answers turns until it is told that the game is over.
#[derive(Debug)]
struct Player {
    turn: Arc<AtomicU32>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.turn.store(OVER, Ordering::Release);
        let _woken = sys::futex_wake(&self.turn);
        let _ended = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// A turn there and back between two threads that sleep on one word.
pub(crate) fn futex(_: &Settings) -> io::Result<Body> {
    let turn = Arc::new(AtomicU32::new(OURS));
    let word = Arc::clone(&turn);
    let thread = thread::Builder::new().spawn(move || {
        loop {
            match word.load(Ordering::Acquire) {
                OURS => sys::futex_wait(&word, OURS),
                THEIRS => {
                    word.store(OURS, Ordering::Release);
                    let _woken = sys::futex_wake(&word);
                }
                _ => break,
            }
        }
    })?;
    let player = Player { turn, thread: Some(thread) };
    Ok(Box::new(move |runs| {
        for _ in 0..runs {
            player.turn.store(THEIRS, Ordering::Release);
            sys::futex_wake(&player.turn)?;
            while player.turn.load(Ordering::Acquire) == THEIRS {
                sys::futex_wait(&player.turn, THEIRS);
            }
        }
        Ok(())
    }))
}
