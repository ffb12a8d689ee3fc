//! How far the body of an answer has come, piece by piece.

use crate::failure::Failure;
use crate::http::chunked::Tracker;
use crate::http::head::ResponseFraming;

/// How far an answer's body has come.
pub(crate) enum Framing {
    Length(u64),
    Chunked(Tracker),
    Close,
}

/// What one piece of an answer amounts to.
pub(crate) struct Piece {
    /// Bytes of it that belong to the answer.
    pub(crate) used: usize,
    /// The answer has ended with it.
    pub(crate) ended: bool,
}

impl Framing {
    pub(crate) fn of(framing: ResponseFraming) -> Self {
        match framing {
            ResponseFraming::Empty => Self::Length(0),
            ResponseFraming::Length(length) => Self::Length(length),
            ResponseFraming::Chunked => Self::Chunked(Tracker::new()),
            ResponseFraming::Close => Self::Close,
        }
    }

    /// Follows `piece` and hands its payload to `payload`.
    pub(crate) fn follow(&mut self, piece: &[u8], mut payload: impl FnMut(&[u8])) -> Result<Piece, Failure> {
        match self {
            Self::Length(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
                *left -= used as u64;
                payload(&piece[..used]);
                Ok(Piece { used, ended: *left == 0 })
            }
            Self::Chunked(tracker) => {
                let mut at = 0;
                loop {
                    match tracker.next_payload(piece, &mut at) {
                        Ok(Some(run)) => payload(&piece[run]),
                        Ok(None) => return Ok(Piece { used: at, ended: tracker.is_done() }),
                        Err(error) => {
                            return Err(Failure::upstream(502, "upstream_malformed", error.to_string()));
                        }
                    }
                }
            }
            Self::Close => {
                payload(piece);
                Ok(Piece { used: piece.len(), ended: false })
            }
        }
    }
}
