//! Does what the shared cases of Leyden's clients ask, by the public API of `leyden_client`: an ask
//! a line from stdin, an answer a line to stdout. It expects nothing; who asks judges.

mod answer;
mod ask;
mod calls;
mod load;

use std::error::Error;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

use crate::ask::Ask;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = BufReader::new(stdin()).lines();
    let mut out = stdout();
    while let Some(line) = lines.next_line().await? {
        let ask: Ask = serde_json::from_str(&line)?;
        let answer = if ask.misspelt.is_some() {
            // The doc tests of `leyden_client` show that it does not compile.
            json!({"name": ask.name, "compile_time": true})
        } else if ask.call == "load" {
            load::measured(&ask).await?
        } else {
            serde_json::to_value(calls::answered(&ask).await)?
        };
        out.write_all(format!("{answer}\n").as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}
