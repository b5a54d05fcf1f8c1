import Synchronization
import WAL

/// The positions behind the frames that were applied last: what acknowledgements, and those who want
/// to go on from somewhere, are held against without a look at the files.
///
/// A cache of a fixed size. The committer adds to it with every frame: a lock and 32 bytes, and no
/// allocation. `Sendable`: everything is behind the lock.
package final class RecentPositions: Sendable {
  package struct Entry: Hashable, Sendable {
    /// The last of the frame.
    package var sequence: UInt64
    /// Bytes of all frames that were written in this life of the process, this one included.
    package var bytes: UInt64
    /// In the frame's header, since 1970.
    package var timeMilliseconds: UInt64
    /// The frame's.
    package var crc: UInt32

    package init(sequence: UInt64, crc: UInt32, bytes: UInt64, timeMilliseconds: UInt64) {
      self.sequence = sequence
      self.bytes = bytes
      self.timeMilliseconds = timeMilliseconds
      self.crc = crc
    }
  }

  package static let countDefault = 16_384

  private struct State {
    /// A ring, ascending from `start` on. Its memory was reserved before.
    var entries: [Entry] = []
    var start = 0
    /// Behind the newest.
    var epoch: Epoch

    func entry(_ number: Int) -> Entry { entries[(start + number) % entries.count] }

    /// How many entries have a sequence number that is not above that.
    func count(through sequence: UInt64) -> Int {
      var low = 0
      var high = entries.count
      while low < high {
        let middle = (low + high) / 2
        if entry(middle).sequence <= sequence { low = middle + 1 } else { high = middle }
      }
      return low
    }
  }

  private let state: Mutex<State>
  private let countMax: Int

  /// - Parameter end: where the log ends now.
  package init(end: LogPosition, countMax: Int = countDefault) {
    var first = State(epoch: end.epoch)
    first.entries.reserveCapacity(countMax)
    first.entries.append(
      Entry(sequence: end.sequence, crc: end.crc, bytes: 0, timeMilliseconds: 0))
    state = Mutex(first)
    self.countMax = countMax
  }

  /// A frame has been applied, and ends there.
  package func append(_ position: LogPosition, bytes: UInt64, timeMilliseconds: UInt64) {
    let new = Entry(
      sequence: position.sequence, crc: position.crc, bytes: bytes,
      timeMilliseconds: timeMilliseconds)
    state.withLock { state in
      state.epoch = position.epoch
      if state.entries.count < countMax {
        state.entries.append(new)
      } else {
        state.entries[state.start] = new
        state.start = state.start + 1 == countMax ? 0 : state.start + 1
      }
    }
  }

  /// The newest: where what has been applied ends.
  package var end: LogPosition {
    state.withLock { state in
      let last = state.entry(state.entries.count - 1)
      return LogPosition(epoch: state.epoch, sequence: last.sequence, crc: last.crc)
    }
  }

  /// Bytes of all frames that were written in this life of the process.
  package var bytes: UInt64 { state.withLock { $0.entry($0.entries.count - 1).bytes } }

  /// The entry of the frame that ends there; nil where none is known, which does not mean that there
  /// is none.
  package func entry(at sequence: UInt64) -> Entry? {
    state.withLock { state in
      let count = state.count(through: sequence)
      guard count > 0 else { return nil }
      let found = state.entry(count - 1)
      return found.sequence == sequence ? found : nil
    }
  }

  /// How far somebody is behind who has everything up to there.
  ///
  /// - Parameter now: milliseconds since 1970.
  package func lag(behind sequence: UInt64, now: UInt64) -> ReplicaLag {
    state.withLock { state in
      let last = state.entry(state.entries.count - 1)
      guard sequence < last.sequence else { return .none }
      var lag = ReplicaLag(records: last.sequence - sequence)
      let count = state.count(through: sequence)
      guard count > 0, state.entry(count - 1).sequence == sequence else { return lag }
      lag.bytes = last.bytes - state.entry(count - 1).bytes
      let time = state.entry(count).timeMilliseconds
      lag.seconds = now > time ? Double(now - time) / 1_000 : 0
      return lag
    }
  }
}
