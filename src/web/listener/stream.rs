use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// A connection that ends when its reader takes nothing of what is written to it for too long. One that has nothing to
/// write may be silent for as long as it likes.
pub struct Impatient {
    stream: TcpStream,
    take_within: Duration,
    /// There while a write waits; the time that is left goes on however often the write is tried again.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    pub fn new(stream: TcpStream, take_within: Duration) -> Impatient {
        Impatient { stream, take_within, waiting: None }
    }

    /// The outcome of a try, or the end of patience.
    fn unless_stalled<T>(&mut self, tried: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if tried.is_ready() {
            return tried;
        }
        let take_within = self.take_within;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(take_within)));
        ready!(waiting.as_mut().poll(context));
        // What was not taken so far is thrown away, or the system would keep it and go on asking the reader.
        if let Err(error) = self.stream.set_zero_linger() {
            tracing::debug!(%error, "the system keeps what a connection's reader did not take");
        }
        let said = format!("the reader took nothing of an answer for {take_within:?}");
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, said)))
    }

    /// The same for a try to write: only bytes that went are progress, and give all the time again.
    fn unless_unread(&mut self, tried: Poll<Result<usize>>, context: &mut Context<'_>) -> Poll<Result<usize>> {
        if tried.is_ready() {
            self.waiting = None;
        }
        self.unless_stalled(tried, context)
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_unread(tried, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.unless_unread(tried, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_flush(context);
        self.unless_stalled(tried, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_shutdown(context);
        self.unless_stalled(tried, context)
    }
}
