//! Texts that the process prints instead of serving: long help, manual page, completions, version.
//! The flags that request them are those of every program made with Go's kingpin, as the reference
//! is.

use super::Flags;
use crate::telemetry::build_labels;
use clap::CommandFactory;
use clap_complete::Shell;

impl Flags {
    /// What the process is to print on standard output instead of serving, if that was requested.
    pub fn requested_text(&self) -> Option<Vec<u8>> {
        let mut command = Self::command();
        let completion = |shell| {
            let (mut command, mut text) = (Self::command(), Vec::new());
            clap_complete::generate(shell, &mut command, "pushgateway", &mut text);
            text
        };
        if self.version {
            Some(version_text().into_bytes())
        } else if self.help_long {
            Some(command.render_long_help().to_string().into_bytes())
        } else if self.help_man {
            let mut text = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut text)
                .expect("writing to memory succeeds");
            Some(text)
        } else if self.completion_script_bash {
            Some(completion(Shell::Bash))
        } else if self.completion_script_zsh {
            Some(completion(Shell::Zsh))
        } else {
            None
        }
    }
}

/// The version in the reference's words.
fn version_text() -> String {
    let labels = build_labels();
    let label = |name| {
        let found = labels.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    };
    format!(
        "pushgateway, version {} (branch: {}, revision: {})\n  platform:         {}/{}\n",
        label("version"),
        label("branch"),
        label("revision"),
        label("goos"),
        label("goarch"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn text_of(flag: &str) -> String {
        let flags = Flags::try_parse_from(["pushgateway", flag]).unwrap();
        String::from_utf8(flags.requested_text().expect("a text")).unwrap()
    }

    #[test]
    fn the_texts_of_kingpin_programs_can_be_requested() {
        for (flag, content) in [
            ("--help-long", "--web.listen-address <ADDRESS>\n"),
            ("--help-man", ".TH pushgateway 1"),
            (
                "--completion-script-bash",
                "complete -F _pushgateway -o nosort",
            ),
            ("--completion-script-zsh", "#compdef pushgateway"),
            ("--version", "pushgateway, version 0."),
        ] {
            let text = text_of(flag);
            assert!(text.contains(content), "{flag}: {text}");
        }
        // Flags that only undo others, and those of this file, are in none of the texts.
        for flag in ["--help-long", "--help-man"] {
            let text = text_of(flag).replace('\\', "");
            assert!(text.contains("--limit.body-bytes"));
            assert!(!text.contains("--no-web") && !text.contains("--completion-script-zsh <"));
        }
        let serving = Flags::try_parse_from(["pushgateway"]).unwrap();
        assert!(serving.requested_text().is_none());
    }
}
