/// A uniform sample of bounded size of all values that were offered.
///
/// Each value gets a random number, and those with the smallest are kept: so two samples make one of
/// both (bottom-k sampling; Cohen and Kaplan, "Summarizing Data using Bottom-k Sketches", PODC 2007).
package struct SampleReservoir: Sendable {
  private struct Item: Sendable {
    var tag: UInt64
    var value: UInt64
  }

  /// 10,000 show a distribution, and are 100 kB of JSON.
  package static let countMaxByDefault = 10_000

  package let countMax: Int
  /// A heap, the largest tag first.
  private var items: [Item] = []
  private var random: RandomSource

  package init(countMax: Int = countMaxByDefault, seed: UInt64) {
    self.countMax = countMax
    random = RandomSource(seed: seed)
    items.reserveCapacity(countMax)
  }

  /// In no order.
  package var values: [UInt64] { items.map(\.value) }

  package mutating func offer(_ value: UInt64) {
    keep(Item(tag: random.next(), value: value))
  }

  package mutating func add(_ other: SampleReservoir) {
    for item in other.items { keep(item) }
  }

  private mutating func keep(_ item: Item) {
    if items.count < countMax {
      items.append(item)
      rise(from: items.count - 1)
    } else if item.tag < items[0].tag {
      items[0] = item
      sink()
    }
  }

  private mutating func rise(from index: Int) {
    var index = index
    while index > 0, items[(index - 1) / 2].tag < items[index].tag {
      items.swapAt(index, (index - 1) / 2)
      index = (index - 1) / 2
    }
  }

  private mutating func sink() {
    var index = 0
    while true {
      var largest = index
      for child in [2 * index + 1, 2 * index + 2]
      where child < items.count && items[child].tag > items[largest].tag {
        largest = child
      }
      guard largest != index else { return }
      items.swapAt(index, largest)
      index = largest
    }
  }
}
