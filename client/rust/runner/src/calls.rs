//! The calls that are asked for.

use leyden_client::{Client, Error, Event, Generation, Watch};

use crate::answer::{Answer, SeenError, SeenState};
use crate::ask::{AnyError, Ask};

/// Does what is asked by a client of its own, and says what was seen.
pub(crate) async fn answered(ask: &Ask) -> Answer {
    let mut answer = Answer::to(ask.name.clone());
    if let Err(error) = called(ask, &mut answer).await {
        answer.error = Some(SeenError::of(error.as_ref()));
    }
    answer
}

async fn called(ask: &Ask, answer: &mut Answer) -> Result<(), AnyError> {
    let client = ask.client()?;
    let result = call(&client, ask, answer).await;
    client.flush().await;
    result
}

async fn call(client: &Client, ask: &Ask, answer: &mut Answer) -> Result<(), AnyError> {
    let request_id = ask.request.request_id.as_deref().unwrap_or_default();
    match ask.call.as_str() {
        "generate" => {
            let generation = client.generate(ask.generate_request()?);
            answer.request_id = Some(generation.request_id().to_owned());
            follow(Source::Generation(generation), ask, answer).await
        }
        "watch" => {
            let watch = client.watch(ask.watch_request());
            answer.request_id = Some(watch.request_id().to_owned());
            follow(Source::Watch(watch), ask, answer).await
        }
        "cancel" => Ok(client.cancel(request_id).await?),
        "list_models" => {
            let models = client.list_models().await?;
            answer.models = models.into_iter().map(|model| model.name).collect();
            Ok(())
        }
        "get_model" => {
            let name = ask.request.model.as_deref().unwrap_or_default();
            answer.models = vec![client.get_model(name).await?.name];
            Ok(())
        }
        "load_model" => {
            let name = ask.request.model.as_deref().unwrap_or_default();
            answer.models = vec![client.load_model(name).await?.name];
            Ok(())
        }
        "unload_model" => {
            let name = ask.request.model.as_deref().unwrap_or_default();
            Ok(client.unload_model(name).await?)
        }
        "get_server_state" => {
            answer.state = Some(SeenState::of(&client.get_server_state().await?));
            Ok(())
        }
        "wait_until_ready" => Ok(within(ask, client.wait_until_ready()).await?),
        "start" => {
            answer.request_id = Some(client.start(ask.generate_request()?).await?);
            Ok(())
        }
        other => Err(format!("no such call: {other}").into()),
    }
}

/// Waits for a call that has no deadline of its own, as tokio has it. The error is the client's.
async fn within<T>(ask: &Ask, call: impl Future<Output = Result<T, Error>>) -> Result<T, AnyError> {
    match ask.timeout() {
        Some(timeout) => Ok(tokio::time::timeout(timeout, call).await??),
        None => Ok(call.await?),
    }
}

enum Source {
    Generation(Generation),
    Watch(Watch),
}

impl Source {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        match self {
            Self::Generation(generation) => generation.next().await,
            Self::Watch(watch) => watch.next().await,
        }
    }
}

/// Reads the events to their end, or until they are to be left.
async fn follow(mut source: Source, ask: &Ask, answer: &mut Answer) -> Result<(), AnyError> {
    let mut count = 0;
    while let Some(event) = source.next().await {
        let kind = answer.record(event?);
        if let Some(leave) = &ask.leave {
            count += usize::from(kind == leave.after);
            if count >= leave.count {
                answer.left = Some(leave.by.clone());
                if let ("cancel", Source::Generation(generation)) = (leave.by.as_str(), source) {
                    generation.cancel().await?;
                }
                // "break": the source is dropped.
                return Ok(());
            }
        }
        if let Some(pause) = ask.pause() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}
