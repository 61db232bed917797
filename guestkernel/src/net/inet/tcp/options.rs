//! Options of TCP sockets that are no plain numbers, and `struct tcp_info`.

use core::{net::IpAddr, sync::atomic::Ordering};

use super::{State, Tcp};
use crate::{
    errno::{Errno, Result},
    net::{
        inet::{
            link,
            options::{self, SOL_IP, SOL_IPV6, SOL_TCP, ip, ip6, tcp},
        },
        options::{OptionIn, OptionOut},
    },
};

/// Bytes of a segment's options: a timestamp.
const TIMESTAMP: u32 = 12;
/// Largest segment before anything is known of the path.
const MSS_DEFAULT: u32 = 536;
/// The way to avoid congestion; there is one.
pub(super) const CONGESTION: &str = "cubic";

impl Tcp {
    /// Largest segment's data, bytes.
    fn mss(&self) -> u32 {
        if let Some(mss) = self.wire().and_then(|flow| flow.look(|control| control.mss)) {
            return mss as u32;
        }
        match self.inner.lock().remote.map(|remote| remote.addr) {
            None => MSS_DEFAULT,
            Some(IpAddr::V4(_)) => link::LO.mtu - 40 - TIMESTAMP - 1,
            Some(IpAddr::V6(_)) => link::LO.mtu - 60 - TIMESTAMP - 1,
        }
    }

    pub(super) fn set_value(&self, level: i32, name: u32, value: OptionIn) -> Result<()> {
        match (level, name) {
            (SOL_IPV6, _) if !self.is_v6() => return Err(Errno::ENOPROTOOPT),
            (SOL_IPV6, ip6::V6ONLY) if self.inner.lock().claim.is_some() => return Err(Errno::EINVAL),
            (SOL_IP, ip::ADD_MEMBERSHIP | ip::DROP_MEMBERSHIP)
            | (SOL_IPV6, ip6::JOIN_GROUP | ip6::LEAVE_GROUP) => {
                return Err(Errno::EPROTO);
            }
            (SOL_TCP, tcp::CONGESTION) => return set_congestion(value),
            (SOL_TCP, tcp::MAXSEG) => {
                let asked: i32 = value.get()?;
                return if asked == 0 || (88..=32767).contains(&asked) { Ok(()) } else { Err(Errno::EINVAL) };
            }
            (SOL_IP | SOL_IPV6 | SOL_TCP, _) => {}
            _ => return Err(Errno::ENOPROTOOPT),
        }
        if level == SOL_TCP && value.len < 4 {
            return Err(Errno::EINVAL);
        }
        self.values.set(level, name, value)?;
        if level == SOL_TCP
            && let Some(flow) = self.wire()
        {
            flow.choose(self.choices());
        }
        Ok(())
    }

    pub(super) fn show_value(&self, level: i32, name: u32, to: OptionOut) -> Result<()> {
        let connected = matches!(self.state(), State::Established | State::CloseWait | State::FinWait);
        match (level, name) {
            (SOL_IPV6, _) if !self.is_v6() => Err(Errno::EOPNOTSUPP),
            (SOL_IP, ip::MTU) | (SOL_IPV6, ip6::MTU) if connected => {
                let to_whom = self.inner.lock().remote.ok_or(Errno::ENOTCONN)?;
                options::put(level, link::mtu_for(to_whom.addr) as i32, to)
            }
            (SOL_IP, ip::MTU) | (SOL_IPV6, ip6::MTU) => Err(Errno::ENOTCONN),
            (SOL_TCP, tcp::MAXSEG) => to.put(&self.mss()),
            (SOL_TCP, tcp::INFO) => to.put(self.info().as_slice()),
            (SOL_TCP, tcp::CONGESTION) => {
                let mut name = [0u8; 16];
                name[..CONGESTION.len()].copy_from_slice(CONGESTION.as_bytes());
                to.put(&name)
            }
            (SOL_IP | SOL_IPV6 | SOL_TCP, _) => self.values.get(level, name, to),
            _ if self.is_v6() => Err(Errno::ENOPROTOOPT),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// The state as Linux numbers it, FIN_WAIT1 told from FIN_WAIT2.
    pub(super) fn shown_state(&self) -> u8 {
        match self.state() {
            State::FinWait if self.unsent() != 0 => 4,
            state => state as u8,
        }
    }

    /// `struct tcp_info` up to `tcpi_bytes_received`; what there is nothing to say of is 0.
    pub(super) fn info(&self) -> [u8; 136] {
        let mut info = [0; 136];
        let (remote, backlog, pending) = {
            let inner = self.inner.lock();
            (inner.remote.is_some(), inner.backlog, inner.pending.len() as u32)
        };
        info[0] = self.shown_state();
        // Timestamps, SACK and scaled windows are what two ends here would agree on.
        info[5] = if remote { 0b111 } else { 0 };
        info[6] = if remote { 0x77 } else { 0 };
        let mut word = |at: usize, value: u32| info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        word(8, 201_000);
        word(12, 40_000);
        word(16, self.mss());
        word(20, MSS_DEFAULT.max(if remote { self.mss() } else { 0 }));
        if self.state() == State::Listen {
            word(24, pending);
            word(28, backlog);
        }
        let remote = self.inner.lock().remote;
        word(60, remote.map_or(link::LO.mtu, |remote| link::mtu_for(remote.addr)));
        word(76, i32::MAX as u32);
        word(80, 10);
        word(84, self.mss());
        word(88, 3);
        let wire = self.wire().and_then(|flow| {
            flow.look(|control| {
                let (trip, congestion) = (&control.trip, &control.congestion);
                let segments = |bytes: u64| (bytes / control.mss.max(1) as u64).min(i32::MAX as u64) as u32;
                [
                    (8, (trip.timeout() / 1000) as u32),
                    (68, (trip.smooth / 1000) as u32),
                    (72, (trip.variation / 1000) as u32),
                    (76, segments(congestion.threshold)),
                    (80, segments(congestion.window)),
                    (100, control.resent as u32),
                ]
            })
        });
        for (at, value) in wire.into_iter().flatten() {
            word(at, value);
        }
        let unsent = self.unsent() as u64;
        let sent = self.sent.load(Ordering::Relaxed);
        info[120..128].copy_from_slice(&(sent - unsent.min(sent)).to_ne_bytes());
        let received = self.got.load(Ordering::Relaxed) + self.queued() as u64;
        info[128..136].copy_from_slice(&received.to_ne_bytes());
        info
    }
}

fn set_congestion(value: OptionIn) -> Result<()> {
    let mut name = [0; 15];
    if value.len == 0 {
        return Err(Errno::EINVAL);
    }
    let len = value.len.min(name.len());
    crate::arch::uaccess::copy_from_user(&mut name[..len], value.addr)?;
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    // Between two ends in one sandbox there is no congestion, whichever is chosen; only the default can be shown.
    if name == CONGESTION.as_bytes() { Ok(()) } else { Err(Errno::ENOENT) }
}
