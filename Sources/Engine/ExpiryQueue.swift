/// When the keys of one stripe expire, the earliest first: a binary heap (Williams, Algorithm 232,
/// CACM 7, 1964).
///
/// An item names a key by the version that it had when it was queued. A key that is replaced or
/// deleted leaves its item behind; that one is stale then, which its version tells, and goes when its
/// time comes or when too much is stale.
package struct ExpiryQueue {
  package struct Item: Equatable, Sendable {
    /// Milliseconds since 1970.
    package var expiry: UInt64
    package var version: UInt64
    /// Of the key: finds it in its stripe.
    package var slotHash: UInt32

    package init(expiry: UInt64, version: UInt64, slotHash: UInt32) {
      self.expiry = expiry
      self.version = version
      self.slotHash = slotHash
    }
  }

  /// What an item takes.
  package static let itemBytes = MemoryLayout<Item>.stride
  /// Stale items that are not worth the work, as long as a key is queued that lives.
  private static let staleMin = 8
  /// Room that is kept when most items are gone.
  private static let keptItems = 64

  // Invariant: no item is earlier than the one at (index - 1) / 2.
  private var heap: [Item] = []

  package init() {}

  package var count: Int { heap.count }
  package var bytes: Int { heap.count * Self.itemBytes }
  package var heldBytes: Int { heap.capacity * Self.itemBytes }
  package var first: Item? { heap.first }

  /// True when more than half of the items are stale.
  ///
  /// - Parameter live: how many keys with an expiry there are.
  package func isStale(live: Int) -> Bool {
    live == 0 ? !heap.isEmpty : heap.count > 2 * live + Self.staleMin
  }

  package mutating func push(_ item: Item) {
    heap.append(item)
    var hole = heap.count - 1
    while hole > 0 {
      let parent = (hole - 1) / 2
      guard item.expiry < heap[parent].expiry else { break }
      heap[hole] = heap[parent]
      hole = parent
    }
    heap[hole] = item
  }

  /// - Precondition: there is one.
  @discardableResult
  package mutating func popFirst() -> Item {
    let first = heap[0]
    let last = heap.removeLast()
    if !heap.isEmpty { sink(last, from: 0) }
    giveBack()
    return first
  }

  /// Drops the items that are stale.
  package mutating func removeAll(where isStale: (Item) -> Bool) {
    heap.removeAll(where: isStale)
    var parent = heap.count / 2
    while parent > 0 {
      parent -= 1
      sink(heap[parent], from: parent)
    }
    giveBack()
  }

  /// Puts the item where it belongs, at or below `hole`.
  private mutating func sink(_ item: Item, from hole: Int) {
    var hole = hole
    while true {
      var child = 2 * hole + 1
      guard child < heap.count else { break }
      if child + 1 < heap.count, heap[child + 1].expiry < heap[child].expiry { child += 1 }
      guard heap[child].expiry < item.expiry else { break }
      heap[hole] = heap[child]
      hole = child
    }
    heap[hole] = item
  }

  /// Gives memory back when less than a quarter of it is used.
  private mutating func giveBack() {
    if heap.isEmpty {
      if heap.capacity > Self.keptItems { heap = [] }
    } else if heap.capacity > Self.keptItems, heap.count * 4 < heap.capacity {
      var smaller: [Item] = []
      smaller.reserveCapacity(2 * heap.count)
      smaller += heap
      heap = smaller
    }
  }
}
