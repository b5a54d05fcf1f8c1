import Synchronization
import WAL

/// The frames that were committed last, up to a number of bytes: what followers that are nearly up to
/// date are given from. Filled only while there is a subscriber.
///
/// A cache, and no more than that: a frame that is not here is in the log's files. So the committer
/// looks whether somebody is subscribed with a relaxed load, and may be late to notice.
package final class RecentFrames: FrameTap, Sendable {
  package static let bytesMaxDefault = 8 << 20
  /// What a frame takes on top of its bytes, at most.
  package static let frameOverheadBytes = 256

  private struct State {
    /// Ascending, whole frames of one history, perhaps with gaps; those before `start` are nil.
    var frames: [RecentFrame?] = []
    var start = 0
    var bytes = 0
    /// Written, and not yet applied.
    var staged: [RecentFrame] = []
  }

  private let state = Mutex(State())
  private let subscribers = Atomic(0)
  private let bytesMax: Int

  package init(bytesMax: Int = bytesMaxDefault) {
    self.bytesMax = bytesMax
  }

  // MARK: - Subscribers

  package func subscribe() {
    subscribers.add(1, ordering: .relaxed)
  }

  /// Gives a subscription up. With the last one the frames go.
  package func unsubscribe() {
    let left = subscribers.subtract(1, ordering: .relaxed).newValue
    precondition(left >= 0)
    guard left == 0 else { return }
    let dropped = state.withLock { state in
      defer { state = State() }
      return state
    }
    // Freed without the lock.
    _ = dropped
  }

  package var wantsFrames: Bool { subscribers.load(ordering: .relaxed) > 0 }

  /// The frame that holds that sequence number, if it is here.
  package func frame(holding sequence: UInt64) -> RecentFrame? {
    state.withLock { state in
      // The last frame that begins at or before it.
      var low = state.start
      var high = state.frames.count
      while low < high {
        let middle = (low + high) / 2
        if state.frames[middle]!.header.firstSequence <= sequence {
          low = middle + 1
        } else {
          high = middle
        }
      }
      guard low > state.start, let frame = state.frames[low - 1] else { return nil }
      return frame.header.lastSequence >= sequence ? frame : nil
    }
  }

  /// What the frames take.
  package var bytes: Int { state.withLock { $0.bytes } }

  // MARK: - The committer

  package func wrote(
    _ header: FrameHeader, _ frame: UnsafeRawBufferPointer, next: LogBookmark
  ) {
    guard frame.count + Self.frameOverheadBytes <= bytesMax else { return }
    let copy = RecentFrame(header, copying: frame, next: next)
    state.withLock { $0.staged.append(copy) }
  }

  /// Shows the frames that were written: they are durable and applied up to that number.
  package func show(through sequence: UInt64) {
    guard wantsFrames else { return }
    var dropped: [RecentFrame] = []
    state.withLock { state in
      while let frame = state.staged.first, frame.header.lastSequence <= sequence {
        state.staged.removeFirst()
        state.frames.append(frame)
        state.bytes += frame.bytes.count + Self.frameOverheadBytes
      }
      while state.bytes > bytesMax, let frame = state.frames[state.start] {
        state.frames[state.start] = nil
        state.start += 1
        state.bytes -= frame.bytes.count + Self.frameOverheadBytes
        dropped.append(frame)
      }
      if 2 * state.start > state.frames.count {
        state.frames.removeFirst(state.start)
        state.start = 0
      }
    }
    // Freed without the lock.
    dropped.removeAll()
  }
}
