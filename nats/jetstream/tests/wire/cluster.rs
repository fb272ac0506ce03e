//! What is different where every message is written down by a majority of servers first.

use std::time::Duration;

use anyhow::Result;
use jetstream::{Disposition, META_INSIGHTS, Wire};
use testkit::faults::Log;

use crate::event::{day, publish};

/// A cluster sends the status that ends a batch ahead of the messages in it.
#[tokio::test]
async fn a_cluster_hands_out_whole_batches() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = Log::start(folder.path(), 3, Duration::from_secs(20)).await?;
    let wire = Wire::connect(&log.urls()[1], None, "test").await?;
    for id in 1..=50 {
        publish(&wire, id, &day(1)?, id.to_string()).await?;
    }
    let puller = wire.puller(META_INSIGHTS, "raw").await?;
    for expected in [20, 20, 10] {
        let batch = puller.next_batch(20, 9 << 20, Duration::from_secs(1)).await?;
        assert_eq!(batch.len(), expected);
        for delivery in &batch {
            assert_eq!(delivery.deliveries, 1);
            puller.settle(delivery, Disposition::Ack).await;
        }
    }
    assert!(puller.next_batch(20, 9 << 20, Duration::from_secs(1)).await?.is_empty());
    Ok(())
}
