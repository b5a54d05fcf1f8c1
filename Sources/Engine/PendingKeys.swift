/// What the records of the frame that is being gathered will have done to their keys.
///
/// An open-addressing table that is emptied by counting up a generation. It refers to keys by
/// address: they stay where they are until their submissions are given back.
package struct PendingKeys: ~Copyable {
  private struct Slot {
    var generation: UInt32 = 0
    var hash: UInt32 = 0
    var key = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Nil when the key is deleted.
    var state: KeyState?
  }

  private var slots = [Slot](repeating: Slot(), count: 64)
  private var generation: UInt32 = 1
  private var count = 0

  package init() {}

  package mutating func removeAll() {
    guard count > 0 else { return }
    count = 0
    generation &+= 1
    if generation == 0 || slots.count > 1 << 16 {
      slots = [Slot](repeating: Slot(), count: 64)
      generation = 1
    }
  }

  /// What the frame does to the key, `.some(nil)` when it deletes it; nil when it does not touch it.
  package func find(_ key: UnsafeRawBufferPointer, _ hash: KeyHash) -> KeyState?? {
    let slot = slots[index(key, hash)]
    return slot.generation == generation ? .some(slot.state) : nil
  }

  package mutating func set(_ key: UnsafeRawBufferPointer, _ hash: KeyHash, _ state: KeyState?) {
    if (count + 1) * 2 > slots.count { grow() }
    let index = index(key, hash)
    if slots[index].generation != generation { count += 1 }
    slots[index] = Slot(generation: generation, hash: hash.slot, key: key, state: state)
  }

  private func index(_ key: UnsafeRawBufferPointer, _ hash: KeyHash) -> Int {
    let mask = slots.count - 1
    var index = Int(hash.slot) & mask
    while slots[index].generation == generation,
      slots[index].hash != hash.slot || !isEqual(slots[index].key, key)
    {
      index = (index + 1) & mask
    }
    return index
  }

  private mutating func grow() {
    let old = slots
    slots = [Slot](repeating: Slot(), count: 2 * old.count)
    let mask = slots.count - 1
    for slot in old where slot.generation == generation {
      var index = Int(slot.hash) & mask
      while slots[index].generation == generation { index = (index + 1) & mask }
      slots[index] = slot
    }
  }
}
