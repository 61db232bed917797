//! The benchmark driver: what one operation and one container's life cost under ringfence and under its peers.
//!
//! `opbench` measures operations from inside a container; `bench` makes the containers, runs `opbench` in them,
//! measures the life cycle from outside and writes one report. This library holds what they decide — rows, systems,
//! bundles, statistics, the table — apart from the machine that they run on.

pub mod bundle;
pub mod exits;
pub mod report;
pub mod rows;
pub mod stats;
pub mod systems;
pub mod table;
pub mod timing;
