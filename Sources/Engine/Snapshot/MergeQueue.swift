/// The sources of a merge, the one at the least key first: a binary heap.
struct MergeQueue {
  // Invariant: no element comes before its parent, which is at half its number.
  private var heap: [(order: KeyOrder, source: any MergeSource)] = []

  /// Where the first one stands; nil when there is none.
  var least: KeyOrder? { heap.first?.order }

  /// Takes up a source, unless it has ended.
  mutating func push(_ source: any MergeSource) {
    guard let order = source.order else { return }
    heap.append((order, source))
    var child = heap.count - 1
    while child > 0, heap[child].order < heap[(child - 1) / 2].order {
      heap.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  /// Takes the first one out; there must be one.
  mutating func pop() -> any MergeSource {
    heap.swapAt(0, heap.count - 1)
    let source = heap.removeLast().source
    var parent = 0
    while true {
      var least = parent
      for child in 2 * parent + 1...2 * parent + 2
      where child < heap.count && heap[child].order < heap[least].order {
        least = child
      }
      guard least != parent else { return source }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
