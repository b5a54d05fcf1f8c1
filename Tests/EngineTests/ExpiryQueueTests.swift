import Engine
import SimulatedDisk
import Testing

@Suite("A queue of what expires")
struct ExpiryQueueTests {
  @Test("gives items in the order of their time, whatever is queued, taken and dropped")
  func model() {
    var random = SeededRandom(seed: 1)
    var queue = ExpiryQueue()
    var model: [ExpiryQueue.Item] = []
    var differences = 0
    for version in 1...20_000 as ClosedRange<UInt64> {
      // Phases in which it grows, and in which it is emptied.
      if random.below(10) < (version / 2_000 % 2 == 0 ? 7 : 2) {
        let item = ExpiryQueue.Item(
          expiry: UInt64(random.below(500)), version: version, slotHash: UInt32(version % 7))
        queue.push(item)
        model.append(item)
      } else if !model.isEmpty {
        let first = queue.popFirst()
        if first.expiry != model.map(\.expiry).min() { differences += 1 }
        // Of those with the same time it may be any, but one that was there.
        if let index = model.firstIndex(of: first) {
          model.remove(at: index)
        } else {
          differences += 1
        }
      }
      if random.once(in: 1_000) {
        let odd = UInt64(random.below(5))
        queue.removeAll { $0.version % 5 == odd }
        model.removeAll { $0.version % 5 == odd }
      }
      if queue.count != model.count || queue.first?.expiry != model.map(\.expiry).min() {
        differences += 1
      }
    }
    var last: UInt64 = 0
    while queue.count > 0 {
      let item = queue.popFirst()
      if item.expiry < last || !model.contains(item) { differences += 1 }
      last = item.expiry
    }
    #expect(differences == 0)
  }

  @Test("gives its memory back")
  func memory() {
    var queue = ExpiryQueue()
    for number in 0..<10_000 as Range<UInt64> {
      queue.push(ExpiryQueue.Item(expiry: number % 977, version: number, slotHash: 0))
    }
    #expect(queue.bytes == 10_000 * ExpiryQueue.itemBytes && queue.heldBytes >= queue.bytes)
    while queue.count > 100 { queue.popFirst() }
    #expect(queue.heldBytes <= 5 * queue.bytes)
    queue.removeAll { $0.version % 2 == 0 }
    while queue.count > 0 { queue.popFirst() }
    #expect(queue.bytes == 0 && queue.heldBytes <= 100 * ExpiryQueue.itemBytes)
  }
}
