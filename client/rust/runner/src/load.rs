//! Many generations at once, for a figure of the client's own speed.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use futures_util::future::try_join_all;
use leyden_client::{Error, GenerateRequest};
use serde_json::{Value, json};

use crate::ask::{AnyError, Ask};

/// Generates `requests` times by `streams` at once over one client; tells how long each took.
pub(crate) async fn measured(ask: &Ask) -> Result<Value, AnyError> {
    let client = ask.client()?;
    let left = Cell::new(ask.requests);
    let latencies_s = RefCell::new(Vec::new());
    let stream = || async {
        while left.get() > 0 {
            left.set(left.get() - 1);
            let started = Instant::now();
            client
                .generate(GenerateRequest::new("a lake"))
                .finish()
                .await?;
            latencies_s
                .borrow_mut()
                .push(started.elapsed().as_secs_f64());
        }
        Ok::<_, Error>(())
    };
    let started = Instant::now();
    try_join_all((0..ask.streams).map(|_| stream())).await?;
    let elapsed_s = started.elapsed().as_secs_f64();
    Ok(json!({"name": ask.name, "latencies_s": latencies_s.take(), "elapsed_s": elapsed_s}))
}
