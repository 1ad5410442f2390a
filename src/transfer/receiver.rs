//! Sends groups to a running gateway.
//!
//! Of groups that contradict each other the gateway keeps the one that it has first. So the groups that
//! were pushed last are sent first.

use super::client::{Answer, Client};
use super::progress::Progress;
use crate::gateway::{ImportSummary, LeftOut};
use crate::persistence::reference_file::{self, PushTimes, ReferenceGroup};
use serde_json::Value;
use std::time::Duration;

const PATH: &str = "/api/v1/admin/import";

/// How many bytes of groups are sent in one request; a single group may have more.
const CHUNK_BYTES: usize = 2 << 20;

/// How often a request is repeated that the gateway cannot take at present, and how long it waits
/// before. Restoring a large state takes seconds.
const RETRIES_MAX: usize = 60;
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Sends the groups.
///
/// # Errors
///
/// Not all groups were sent: one line for the operator.
pub(super) fn send(
    client: &Client,
    mut groups: Vec<ReferenceGroup>,
) -> Result<ImportSummary, String> {
    groups.sort_by_cached_key(|group| std::cmp::Reverse(PushTimes::of(group).last_push));
    let progress = Progress::groups(&format!("sending to {}", client.address()), groups.len());
    let mut total = ImportSummary::default();
    for chunk in chunks(&groups, CHUNK_BYTES) {
        let body = reference_file::encode(chunk);
        let answer = send_chunk(client, &body, &progress)?;
        add(&mut total, &answer)
            .ok_or_else(|| format!("{}{PATH}: this is no answer of a gateway", client.address()))?;
        progress.advance(chunk.len());
    }
    Ok(total)
}

/// Cuts the groups into slices of about `bytes`.
fn chunks(groups: &[ReferenceGroup], bytes: usize) -> Vec<&[ReferenceGroup]> {
    let mut chunks = Vec::new();
    let (mut begin, mut n_bytes) = (0, 0);
    for (n, group) in groups.iter().enumerate() {
        let families = group.families.iter();
        let size = 100
            + families
                .map(|f| f.name.len() + f.message.len() + 50)
                .sum::<usize>();
        if n > begin && n_bytes + size > bytes {
            chunks.push(&groups[begin..n]);
            (begin, n_bytes) = (n, 0);
        }
        n_bytes += size;
    }
    if begin < groups.len() || groups.is_empty() {
        // Also without groups, so that a gateway that takes no imports is noticed.
        chunks.push(&groups[begin..]);
    }
    chunks
}

fn send_chunk(client: &Client, body: &[u8], progress: &Progress) -> Result<Answer, String> {
    let mut n_retries = 0;
    loop {
        let answer = client.post(PATH, body, progress)?;
        match answer.status {
            200 => return Ok(answer),
            503 if n_retries < RETRIES_MAX => {
                n_retries += 1;
                std::thread::sleep(RETRY_DELAY);
            }
            404 => {
                return Err(format!(
                    "{}: the gateway takes no imports: start it with --web.enable-admin-api",
                    client.unexpected(PATH, &answer)
                ));
            }
            _ => return Err(client.unexpected(PATH, &answer)),
        }
    }
}

/// Adds what the gateway has answered; `None` if that is something else.
fn add(total: &mut ImportSummary, answer: &Answer) -> Option<()> {
    let answer: Value = serde_json::from_slice(&answer.body).ok()?;
    let data = &answer["data"];
    let number = |name: &str| usize::try_from(data[name].as_u64()?).ok();
    total.n_groups += number("restored")?;
    total.n_outdated += number("outdated")?;
    total.n_left_out_groups += number("left_out_groups")?;
    total.n_left_out_families += number("left_out_families")?;
    for left_out in data["left_out"].as_array()? {
        let text = |name: &str| left_out[name].as_str().map(str::to_owned);
        total.left_out.push(LeftOut {
            group: text("group")?,
            family: text("family"),
            reason: text("reason")?,
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::reference_file::ReferenceFamily;

    fn group(n_bytes: usize) -> ReferenceGroup {
        ReferenceGroup {
            labels: Vec::new(),
            families: vec![ReferenceFamily {
                message: vec![0; n_bytes],
                ..ReferenceFamily::default()
            }],
        }
    }

    #[test]
    fn chunks_have_whole_groups_and_a_bounded_size() {
        let check = |sizes: &[usize], expected: &[usize]| {
            let groups: Vec<_> = sizes.iter().map(|n| group(*n)).collect();
            let chunks = chunks(&groups, 10_000);
            let n_groups: Vec<usize> = chunks.iter().map(|chunk| chunk.len()).collect();
            assert_eq!(n_groups, expected, "{sizes:?}");
        };
        check(&[], &[0]);
        check(&[1], &[1]);
        check(&[4_000, 4_000, 4_000], &[2, 1]);
        check(&[20_000, 1, 20_000], &[1, 1, 1]);
        check(&[1, 1, 20_000], &[2, 1]);
    }

    #[test]
    fn answers_are_added_up() {
        let answer = |body: &str| Answer {
            status: 200,
            content_type: String::new(),
            body: body.as_bytes().to_vec(),
        };
        let mut total = ImportSummary::default();
        let one = answer(
            r#"{"data":{"restored":3,"outdated":2,"left_out_groups":1,"left_out_families":1,"left_out":[{"group":"a","reason":"r"},{"group":"b","family":"f","reason":"r"}]}}"#,
        );
        add(&mut total, &one).unwrap();
        add(&mut total, &one).unwrap();
        assert_eq!((total.n_groups, total.n_outdated), (6, 4));
        assert_eq!((total.n_left_out_groups, total.n_left_out_families), (2, 2));
        assert_eq!(total.left_out.len(), 4);
        assert_eq!(total.left_out[3].family.as_deref(), Some("f"));
        assert_eq!(add(&mut total, &answer("{}")), None);
    }
}
