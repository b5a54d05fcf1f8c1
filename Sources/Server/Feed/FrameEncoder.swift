import NIOCore
import WAL

/// Turns frames of the log into the bytes of an answer, a bounded piece at a time.
///
/// Remembers how far it is, inside a frame too, so that it can be given the same frame again and goes
/// on in it: nobody has to keep a frame until a slow reader has taken it.
protocol FrameEncoder: Sendable {
  /// Whether what was written can be the end: nothing is half there.
  var isBetween: Bool { get }
  /// Whether nothing is begun any more: only what is half there is finished.
  var beginsNothing: Bool { get set }

  /// Writes what a frame has behind what was written of it.
  ///
  /// - Parameters:
  ///   - frame: the whole of it, as it is on the disk.
  ///   - bytesMax: nothing is begun once so much is in the buffer.
  /// - Returns: false when there is more in the frame, or nothing more is begun.
  mutating func encode(
    _ header: FrameHeader, _ frame: UnsafeRawBufferPointer, into buffer: inout ByteBuffer,
    bytesMax: Int
  ) -> Bool
}
