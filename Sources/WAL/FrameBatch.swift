/// Whole frames of one log, one behind the other, on their way from another node to this one's log.
///
/// Its owner fills it, hands it to the log's thread and gets it back, and uses it again.
/// `@unchecked Sendable`: one thread at a time has it, and it changes hands under a lock.
public final class FrameBatch: @unchecked Sendable {
  /// Memory above this is given back when it is emptied.
  private static let keptBytesMax = 4 << 20

  public private(set) var headers: [FrameHeader] = []
  /// Where each frame begins.
  private var offsets: [Int] = []
  // Invariant: end + Format.endMarkerBytes <= buffer.count; the bytes below `end` are the frames.
  private var buffer: UnsafeMutableRawBufferPointer
  private var end = 0

  public init() {
    buffer = .allocate(byteCount: 64 << 10, alignment: 16)
  }

  deinit {
    buffer.deallocate()
  }

  public var isEmpty: Bool { headers.isEmpty }
  public var count: Int { headers.count }
  /// Of the frames, with their headers.
  public var bytes: Int { end }

  /// Adds a frame, checked as `FrameStream` does, behind the last one.
  public func append(_ header: FrameHeader, _ frame: RawSpan) {
    precondition(frame.byteCount == header.frameBytes && header.recordCount > 0)
    precondition(headers.last.map { header.follows($0.position) } ?? true, "a hole in the log")
    let needed = end + frame.byteCount + Format.endMarkerBytes
    if needed > buffer.count {
      let larger = UnsafeMutableRawBufferPointer.allocate(
        byteCount: max(needed, 2 * buffer.count), alignment: 16)
      larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[..<end]))
      buffer.deallocate()
      buffer = larger
    }
    buffer.store(frame, at: end)
    headers.append(header)
    offsets.append(end)
    end += frame.byteCount
  }

  public func removeAll() {
    headers.removeAll(keepingCapacity: true)
    offsets.removeAll(keepingCapacity: true)
    end = 0
    if buffer.count > Self.keptBytesMax {
      buffer.deallocate()
      buffer = .allocate(byteCount: 64 << 10, alignment: 16)
    }
  }

  /// A frame as it goes to disk.
  public func frame(_ index: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      rebasing: buffer[offsets[index]..<offsets[index] + headers[index].frameBytes])
  }

  /// A frame's records with their padding.
  public func records(_ index: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: frame(index)[Format.frameHeaderBytes...])
  }

  /// Gives `body` a run of frames as it goes to disk, with the end marker behind it.
  func withRun<R>(
    _ run: Range<Int>, checksum: Checksum,
    _ body: (UnsafeRawBufferPointer) throws(WALError) -> R
  ) throws(WALError) -> R {
    let last = headers[run.upperBound - 1]
    let behind = offsets[run.upperBound - 1] + last.frameBytes
    let place = UnsafeMutableRawBufferPointer(
      rebasing: buffer[behind..<behind + Format.endMarkerBytes])
    // The next frame's header may be there.
    let covered = Array(place)
    defer { place.copyBytes(from: covered) }
    EndMarker(last.position).store(in: place, checksum: checksum)
    return try body(
      UnsafeRawBufferPointer(rebasing: buffer[offsets[run.lowerBound]..<behind + place.count]))
  }
}
