/// A set of keys, each with a little state. Open addressing; the keys lie behind each other in one
/// array, because a million small arrays would cost more than the keys.
struct KeyTable {
  struct State {
    var isPresent = false
    /// Absent from then on, milliseconds since 1970.
    var expiryMilliseconds = UInt64.max
  }

  private struct Entry {
    var hash: Int
    var offset: Int
    var count: Int
    var state: State
  }

  // Invariant: slots.count is a power of two and more than entries.count; a slot is the index of an
  // entry, or -1.
  private var slots = [Int](repeating: -1, count: 1 << 10)
  private var entries: [Entry] = []
  private var bytes: [UInt8] = []

  /// The number of distinct keys.
  var count: Int { entries.count }

  /// The keys that are present at that time.
  func present(atMilliseconds now: UInt64) -> Int {
    entries.count { $0.state.isPresent && $0.state.expiryMilliseconds > now }
  }

  mutating func set(_ key: UnsafeRawBufferPointer, _ state: State) {
    var hasher = Hasher()
    hasher.combine(bytes: key)
    let hash = hasher.finalize()
    var slot = hash & (slots.count - 1)
    while slots[slot] >= 0 {
      if matches(entries[slots[slot]], hash, key) {
        entries[slots[slot]].state = state
        return
      }
      slot = (slot + 1) & (slots.count - 1)
    }
    slots[slot] = entries.count
    entries.append(Entry(hash: hash, offset: bytes.count, count: key.count, state: state))
    bytes.append(contentsOf: key)
    if entries.count * 4 > slots.count * 3 { grow() }
  }

  private func matches(_ entry: Entry, _ hash: Int, _ key: UnsafeRawBufferPointer) -> Bool {
    guard entry.hash == hash, entry.count == key.count else { return false }
    return bytes.withUnsafeBytes {
      $0[entry.offset..<entry.offset + entry.count].elementsEqual(key)
    }
  }

  private mutating func grow() {
    slots = [Int](repeating: -1, count: 2 * slots.count)
    for index in entries.indices {
      var slot = entries[index].hash & (slots.count - 1)
      while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = index
    }
  }
}
