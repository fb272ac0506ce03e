//! Every durable consumer of the topology has its room, and every room's durable is in the topology: one that is only
//! in the file would hold the log's oldest message for ever, and one that is only in a room would never be made.

use jetstream::topology::{Durable, durables};
use jetstream::{META_CONNECT, META_INSIGHTS, META_SYNC};

/// Each with the role that pulls it. A further one is a further line.
pub const ROOMS: [(&str, &str, &str); 4] = [
    (META_INSIGHTS, raw::DURABLE, "raw"),
    (META_INSIGHTS, projector::DURABLE, "project"),
    (META_CONNECT, initial_fill::DURABLE, "fill"),
    (META_SYNC, insights::DURABLE, "fetch"),
];

pub fn durable(stream: &str, name: &str) -> Durable {
    Durable { stream: stream.to_owned(), name: name.to_owned() }
}

#[test]
fn the_topology_has_the_durables_of_the_rooms_and_no_others() -> anyhow::Result<()> {
    let rooms = ROOMS.map(|(stream, name, _)| durable(stream, name));
    assert_eq!(durables()?, rooms, "nats/topology/consumers.toml, and the rooms");
    Ok(())
}
