//! Where the bodies of messages come from: flags, lines of a file or of standard input, or nothing at all.
//!
//! Owns reading, on a thread of its own because standard input cannot be read otherwise without blocking
//! the runtime. Bodies wait in a small queue, so that a large file is never in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::{MESSAGE_BYTES_MAX, SENDS_IN_FLIGHT};

/// Bodies in their order; a failure is the last item.
pub(super) type Bodies = mpsc::Receiver<Outcome<Bytes>>;

/// Opens the source that the flags name. `made_up` is a number of messages and their size in bytes.
pub(super) fn open(messages: Vec<String>, file: Option<PathBuf>, made_up: Option<(u64, u64)>) -> Outcome<Bodies> {
    let (sender, bodies) = mpsc::channel(SENDS_IN_FLIGHT);
    if let Some((count, size)) = made_up {
        let body = made_up_body(usize::try_from(size).unwrap_or(MESSAGE_BYTES_MAX));
        feed(sender, (0..count).map(move |_| Ok(body.clone())));
    } else if !messages.is_empty() {
        feed(sender, messages.into_iter().map(|text| Ok(Bytes::from(text))));
    } else if let Some(path) = file {
        let opened = File::open(&path).or_fail_with(Exit::Usage, path.display())?;
        feed(sender, lines(BufReader::new(opened)));
    } else {
        feed(sender, lines(BufReader::new(io::stdin())));
    }
    Ok(bodies)
}

fn feed(sender: mpsc::Sender<Outcome<Bytes>>, bodies: impl Iterator<Item = Outcome<Bytes>> + Send + 'static) {
    std::thread::spawn(move || {
        for body in bodies {
            // The command has ended: nobody wants the rest.
            if sender.blocking_send(body).is_err() {
                return;
            }
        }
    });
}

/// Letters that compress as text does, neither constant nor random.
fn made_up_body(size: usize) -> Bytes {
    (0..size).map(|at| b'a' + u8::try_from((at * 7 + at / 26) % 26).unwrap_or(0)).collect::<Vec<u8>>().into()
}

fn lines(mut reader: impl BufRead) -> impl Iterator<Item = Outcome<Bytes>> {
    let mut number = 0u64;
    let mut ended = false;
    std::iter::from_fn(move || {
        while !ended {
            number += 1;
            let mut line = Vec::new();
            // One byte more than allowed tells a line that is too long; CR and LF do not count.
            let read = reader.by_ref().take(MESSAGE_BYTES_MAX as u64 + 3).read_until(b'\n', &mut line);
            let failure = match read {
                Ok(0) => return None,
                Ok(_) => {
                    let text = line.strip_suffix(b"\n").unwrap_or(&line);
                    let length = text.strip_suffix(b"\r").unwrap_or(text).len();
                    line.truncate(length);
                    match length {
                        0 => continue,
                        1..=MESSAGE_BYTES_MAX => return Some(Ok(Bytes::from(line))),
                        _ => {
                            Failure::new(Exit::Usage, format!("line {number} has more than {MESSAGE_BYTES_MAX} bytes"))
                        }
                    }
                }
                Err(error) => Failure::new(Exit::Failed, format!("line {number} cannot be read: {error}")),
            };
            ended = true;
            return Some(Err(failure));
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_empty_ones_are_passed_over() {
        let text: &[u8] = b"one\r\n\n two \n\xff\xfe\nlast";
        let read: Vec<Bytes> = lines(text).map(|line| line.unwrap()).collect();
        assert_eq!(read, [&b"one"[..], b" two ", b"\xff\xfe", b"last"]);
        let mut long = vec![b'x'; MESSAGE_BYTES_MAX + 1];
        long.extend_from_slice(b"\nnext\n");
        let read: Vec<_> = lines(&long[..]).collect();
        assert_eq!(read.len(), 1, "the rest of a line that is too long is no message");
        assert_eq!(read[0].as_ref().unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn made_up_bodies_have_their_size() {
        assert_eq!(made_up_body(300).len(), 300);
        assert!(made_up_body(300).iter().all(u8::is_ascii_lowercase));
    }
}
