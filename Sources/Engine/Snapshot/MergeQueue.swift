import WAL

/// The sources of a merge, the one at the least key first: a binary heap.
struct MergeQueue {
  private struct Place {
    var order: KeyOrder
    var source: Int
  }

  private var sources: [any MergeSource] = []
  // Invariant: no element comes before its parent, which is at half its number.
  private var heap: [Place] = []

  /// Where the first one stands; nil when there is none.
  var least: KeyOrder? { heap.first?.order }

  /// The first one, which must be there.
  var first: any MergeSource { sources[heap[0].source] }

  /// Whether another one stands where the first one does.
  var isTied: Bool {
    heap.count > 1 && heap[1].order == heap[0].order
      || heap.count > 2 && heap[2].order == heap[0].order
  }

  /// Takes up a source, unless it has ended.
  mutating func add(_ source: any MergeSource) {
    guard let order = source.order else { return }
    sources.append(source)
    push(Place(order: order, source: sources.count - 1))
  }

  /// Moves the first one to its next key, or takes it out where it has none.
  mutating func advanceFirst() throws(WALError) {
    let source = sources[heap[0].source]
    try source.advance()
    if let order = source.order {
      heap[0].order = order
    } else {
      heap.swapAt(0, heap.count - 1)
      heap.removeLast()
    }
    sink()
  }

  /// Takes those out that stand where the first one does; there must be one.
  ///
  /// - Returns: their numbers, for `source` and `putBack`.
  mutating func popTied(into tied: inout [Int]) {
    let order = heap[0].order
    tied.removeAll(keepingCapacity: true)
    while let place = heap.first, place.order == order {
      tied.append(place.source)
      heap.swapAt(0, heap.count - 1)
      heap.removeLast()
      sink()
    }
  }

  func source(_ number: Int) -> any MergeSource { sources[number] }

  /// Takes up again what was taken out, unless it has ended.
  mutating func putBack(_ number: Int) {
    guard let order = sources[number].order else { return }
    push(Place(order: order, source: number))
  }

  private mutating func push(_ place: Place) {
    heap.append(place)
    var child = heap.count - 1
    while child > 0, heap[child].order < heap[(child - 1) / 2].order {
      heap.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  /// Moves the first element down to its place.
  private mutating func sink() {
    var parent = 0
    while true {
      var least = parent
      for child in 2 * parent + 1...2 * parent + 2
      where child < heap.count && heap[child].order < heap[least].order {
        least = child
      }
      guard least != parent else { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
