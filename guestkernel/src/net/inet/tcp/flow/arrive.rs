//! Segments from the wire, and who they are for.

use alloc::sync::{Arc, Weak};

use super::{
    super::{
        State as SocketState,
        control::{Control, Rest, State},
        listener as find_listener,
        segment::{self, Flags, Head},
    },
    EMBRYOS, Flow, TABLE, Tcp, mss_for, numbers, send_segment,
};
use crate::{
    arch::clock,
    errno::Errno,
    net::inet::{
        address::Endpoint,
        datagram::checksum,
        table,
        wire::{Arrival, Failed, packet::pseudo},
    },
};

/// A segment comes. `None` when it means nothing.
pub(in crate::net::inet) fn arrive(arrival: &Arrival<'_>) -> Option<()> {
    if arrival.group {
        return None;
    }
    if !arrival.trusted {
        let sum = pseudo(arrival.from, arrival.to, arrival.protocol, arrival.payload.len());
        if checksum(&[&sum.to_be_bytes(), arrival.payload]) != 0 {
            return None;
        }
    }
    let (head, data) = segment::read(arrival.payload)?;
    let numbers = table::Flow {
        local: Endpoint { addr: arrival.to, port: head.target },
        remote: Endpoint { addr: arrival.from, port: head.source },
    };
    let flow = TABLE.lock().get(&numbers).cloned();
    if let Some(flow) = flow {
        let rest = flow.with(|control, now, side| control.segment(&head, data, now, side));
        if rest != Some(Rest::Opens) {
            return Some(());
        }
    }
    let opens = head.flags & (Flags::SYN | Flags::ACK | Flags::RST) == Flags::SYN;
    let listener = if opens { find_listener(numbers.local, numbers.remote.port) } else { None };
    match listener {
        Some(listener) => answer_syn(&listener, numbers, &head),
        None if head.flags.contains(Flags::RST) => {}
        None => refuse(&numbers, &head, data.len()),
    }
    Some(())
}

/// Nobody has these numbers.
fn refuse(numbers: &table::Flow, head: &Head, len: usize) {
    let mut answer = Head { source: head.target, target: head.source, flags: Flags::RST, ..Head::default() };
    if head.flags.contains(Flags::ACK) {
        answer.seq = head.ack;
    } else {
        let ends = head.flags & (Flags::SYN | Flags::FIN);
        answer.ack = head.seq.wrapping_add(len as u32).wrapping_add(ends.bits().count_ones());
        answer.flags |= Flags::ACK;
    }
    send_segment(numbers, &answer, [&[], &[]], 0, (64, 0));
}

/// Somebody wants a connection with a listener.
fn answer_syn(listener: &Tcp, numbers_of: table::Flow, syn: &Head) {
    let oldest = {
        let mut inner = listener.inner.lock();
        // As Linux: who comes to a full queue tries again.
        if inner.state != SocketState::Listen || inner.pending.len() + inner.reserved > inner.backlog as usize
        {
            return;
        }
        let most = (inner.backlog as usize).clamp(8, EMBRYOS);
        if inner.embryos.len() >= most {
            inner.embryos.retain(|flow: &Weak<Flow>| {
                flow.upgrade().is_some_and(|flow| flow.look(|one| one.state) == Some(State::SynReceived))
            });
        }
        if inner.embryos.len() >= most {
            inner.embryos.pop_front().and_then(|flow| flow.upgrade())
        } else {
            None
        }
    };
    if let Some(oldest) = oldest {
        oldest.abort();
    }
    let child = listener.child(numbers_of);
    let ports = (numbers_of.local.port, numbers_of.remote.port);
    let (mss, now) = (mss_for(numbers_of.remote.addr), clock::monotonic_ns());
    let made = Flow::make(numbers_of, &child, Some(listener), |side| {
        Control::accept(ports, numbers(), mss, syn, now, side)
    });
    match made {
        Ok(flow) => {
            listener.inner.lock().embryos.push_back(Arc::downgrade(&flow));
            child.join_wire(flow);
        }
        Err(error) => log::debug!("a connection is not answered: {error}"),
    }
}

/// One of our segments did not arrive.
pub(in crate::net::inet) fn failed(failed: &Failed<'_>) {
    let Some(ports) = failed.payload.first_chunk::<8>() else { return };
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let numbers = table::Flow {
        local: Endpoint { addr: failed.from, port: port(0) },
        remote: Endpoint { addr: failed.to, port: port(2) },
    };
    let flow = TABLE.lock().get(&numbers).cloned();
    let Some(flow) = flow else { return };
    let seq = u32::from_be_bytes([ports[4], ports[5], ports[6], ports[7]]);
    // One that is not about what is on its way is made up.
    if flow.look(|control| control.is_on_its_way(seq)) != Some(true) {
        return;
    }
    let (errno, _) = failed.errno();
    if errno == Errno::EMSGSIZE {
        let headers = if failed.to.is_ipv6() { 60 } else { 40 };
        // RFC 1191: less than this is a lie.
        let mss = (failed.mtu.max(552) as usize) - headers - 12;
        flow.with(|control, now, side| control.limit(mss, now, side));
    } else if flow.look(|control| control.state) == Some(State::SynSent) {
        flow.with(|control, _, side| control.abort(side));
        if let Some(socket) = flow.socket.upgrade().filter(|socket| socket.state() == SocketState::SynSent) {
            socket.fail(errno);
        }
    }
}
