//! `completions` and `manual`: what shells and `man` want to know, made from the same words as `--help`.

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::arguments::{Arguments, CompletionsOptions, ManualOptions};
use super::{Refusal, print};

pub(super) fn completions(options: &CompletionsOptions) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "tidewatch", &mut text);
    print(&text)
}

pub(super) fn manual(options: &ManualOptions) -> anyhow::Result<()> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    if let Some(folder) = &options.to {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        return clap_mangen::generate_to(command, folder)
            .with_context(|| format!("cannot write the manual pages into `{}`", folder.display()));
    }
    let page = match &options.verb {
        None => command,
        Some(verb) => verb_of(&command, verb)?,
    };
    let mut text = Vec::new();
    Man::new(page).render(&mut text)?;
    print(&text)
}

/// The command of a verb; built before, so that it knows the options of all verbs too.
fn verb_of(command: &Command, verb: &str) -> Result<Command, Refusal> {
    let found = command.find_subcommand(verb).cloned();
    found.ok_or_else(|| {
        let verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        Refusal::new(format!("there is no verb `{verb}`; there are {}", verbs.join(", ")))
    })
}
