//! Whether a server serves, by `grpc.health.v1`.

use std::time::Duration;

use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::auth::Transport;
use crate::error::Error;
use crate::status::{error_of, is_broken_connection};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Waits until the server says that it serves, through anything that passes.
pub(crate) async fn wait_until_serving(mut health: HealthClient<Transport>) -> Result<(), Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        match serves(&mut health)
            .await
            .map_err(|status| error_of(&status))
        {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // There is no server yet, or the connection went while it was watched, or what stands
            // before the server says so: it may come back.
            Err(error) if is_broken_connection(&error) => {}
            Err(error @ Error::Unavailable(_)) => drop(error),
            Err(error) => return Err(error),
        }
        // Whatever ends watches at once must not be flooded with new ones.
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(2 * pause);
    }
}

/// Watches the health until it is SERVING (true), or the server ends the watch (false).
async fn serves(health: &mut HealthClient<Transport>) -> Result<bool, Status> {
    // The empty name is the whole server.
    let request = HealthCheckRequest::default();
    let mut answers = health.watch(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if answer.status() == ServingStatus::Serving {
            return Ok(true);
        }
    }
    Ok(false)
}
