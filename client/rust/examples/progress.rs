//! Draws a progress bar while an image is made, and writes its file.
//!
//! ```text
//! cargo run --example progress -- "a lighthouse at dusk" lighthouse.png
//! ```
//!
//! `LEYDEN_TARGET` says where the server is, `LEYDEN_API_KEY` has the key where it asks for one.

use std::error::Error;
use std::io::Write;

use leyden_client::{Client, DEFAULT_TARGET, Event, GenerateRequest};

const WIDTH: usize = 32;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let prompt = arguments.next().unwrap_or("a lighthouse at dusk".into());
    let path = arguments.next().unwrap_or("lighthouse.png".into());

    let target = std::env::var("LEYDEN_TARGET").unwrap_or(DEFAULT_TARGET.into());
    let mut builder = Client::builder(target);
    if let Ok(api_key) = std::env::var("LEYDEN_API_KEY") {
        builder = builder.api_key(api_key);
    }
    let client = builder.build()?;

    let mut generation = client.generate(GenerateRequest::new(prompt));
    while let Some(event) = generation.next().await {
        match event? {
            Event::Queued(queued) => show(0, 1, &format!("{} before", queued.position)),
            Event::DenoiseProgress(at) => {
                let remaining = format!("{:.1} s left", at.remaining.as_secs_f64());
                show(at.step, at.total_steps, &remaining);
            }
            Event::Image(image) => {
                std::fs::write(&path, &image.data)?;
                eprintln!("\n{path}: seed {}, {} bytes", image.seed, image.data.len());
            }
            Event::Summary(summary) => {
                for warning in summary.warnings {
                    eprintln!("{}: {}", warning.field, warning.message);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Draws the bar anew in its line.
fn show(step: i32, total_steps: i32, words: &str) {
    let full =
        usize::try_from(step).unwrap_or(0) * WIDTH / usize::try_from(total_steps).unwrap_or(1);
    let (full, empty) = ("#".repeat(full), ".".repeat(WIDTH.saturating_sub(full)));
    eprint!("\r[{full}{empty}] {step}/{total_steps} {words:<16}");
    // What is not shown is not worth an error.
    let _ = std::io::stderr().flush();
}
