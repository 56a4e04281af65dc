//! How a connection is left, so that the client sees the last thing it is told.

use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// How long the client may take to acknowledge our goodbye (TLS close_notify, FIN).
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a client may go on sending what nobody reads, so that it sees what it was told.
const LINGER: Duration = Duration::from_secs(5);

/// Whether the client is still there to read it makes no difference any more.
pub(super) async fn goodbye<S: AsyncWrite + Unpin>(stream: &mut S) {
    drop(timeout(GOODBYE, stream.shutdown()).await);
}

/// The same, after some last words.
pub(super) async fn goodbye_with<S: AsyncWrite + Unpin>(stream: &mut S, words: &[u8]) {
    let all = async {
        stream.write_all(words).await?;
        stream.shutdown().await
    };
    drop(timeout(GOODBYE, all).await);
}

/// Takes what a client still sends: a connection that is closed while something is unread is reset,
/// and what it was told is lost with it.
pub(super) async fn linger<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut unread = vec![0; 16 * 1024];
    let all = async {
        while stream
            .read(&mut unread)
            .await
            .is_ok_and(|length| length > 0)
        {}
    };
    drop(timeout(LINGER, all).await);
}
