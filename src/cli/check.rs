//! `imapwarden check`: everything that is wrong with the configuration, or what it does and what is weak about it.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::cli::Context;
use crate::cli::error::CliError;
use crate::config::rules;
use crate::server;

/// Reads the configuration and the files that it names; changes and connects to nothing.
pub(super) fn run(cx: &mut Context<'_>) -> Result<(), CliError> {
    let config = cx.place.config(cx.now)?;
    // Authorities, pins and the master password: what the file's text alone does not show.
    server::open_backends(&config)?;
    let rules = rules::load_configured(&config.rules).map_err(CliError::Rules)?;
    let mut summary = config.summary();
    if !rules.set.rules.is_empty() {
        let mode = if rules.set.shadow {
            ", which only report"
        } else {
            ""
        };
        let (count, files) = (rules.set.rules.len(), rules.files.len());
        summary
            .lines
            .push(("rules", format!("{count} in {files} files{mode}")));
    }
    if cx.out.is_json() {
        let mut lines: Map<String, Value> = Map::new();
        for (heading, text) in &summary.lines {
            let entry = lines.entry(*heading).or_insert_with(|| json!([]));
            if let Value::Array(texts) = entry {
                texts.push(json!(text));
            }
        }
        let value = json!({"ok": true, "summary": lines, "warnings": summary.warnings});
        return Ok(cx.out.json(&value)?);
    }
    cx.out.line("The configuration is right.")?;
    let wide = summary.lines.iter().map(|(heading, _)| heading.len()).max();
    let wide = wide.unwrap_or(0);
    for (heading, text) in &summary.lines {
        cx.out.line(&format!("  {heading:<wide$}  {text}"))?;
    }
    for warning in &summary.warnings {
        cx.out.line(&format!("warning: {warning}"))?;
    }
    Ok(())
}
