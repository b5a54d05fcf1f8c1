import WAL

/// A frame of the log in memory, as it is on the disk. It does not change.
///
/// `@unchecked Sendable`: its memory is written by `init` only.
public final class RecentFrame: @unchecked Sendable {
  public let header: FrameHeader
  /// The place behind it.
  let next: LogBookmark
  private let memory: UnsafeMutableRawBufferPointer

  init(_ header: FrameHeader, copying frame: UnsafeRawBufferPointer, next: LogBookmark) {
    precondition(frame.count == header.frameBytes)
    self.header = header
    self.next = next
    memory = .allocate(byteCount: frame.count, alignment: 16)
    memory.copyMemory(from: frame)
  }

  deinit {
    memory.deallocate()
  }

  /// The whole frame. Not to be used longer than the frame is referenced.
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(memory) }

  /// Its records with their padding. Not to be used longer than the frame is referenced.
  public var records: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[Format.frameHeaderBytes...])
  }
}
