import Engine
import Sharding
import SimulatedDisk
import Testing

@Suite("The rule of a split")
struct SplitRuleTests {
  private struct Shape: Hashable {
    var parent: UInt32
    var multiple: UInt32
  }

  private static let shapes = [1, 2, 3, 4, 6, 12].flatMap { (parent: UInt32) in
    [1, 2, 3, 4, 5, 8, 12].map { Shape(parent: parent, multiple: $0) }
  }

  @Test("gives each key of the parent to the shard that its hash says, and no other key to any")
  func keys() {
    var random = SeededRandom(seed: 1)
    for shape in Self.shapes {
      for index in 0..<shape.parent {
        let rule = SplitRule(
          parent: ShardNote(index: index, count: shape.parent, hash: .fnv1),
          count: shape.parent * shape.multiple, frameTimeMilliseconds: 0)
        #expect(rule.children == Int(shape.multiple))
        for _ in 0..<100 {
          let hash = random.next()
          let child = rule.child(of: KeyOrder(shardHash: hash))
          let owner = hash % UInt64(shape.parent * shape.multiple)
          if hash % UInt64(shape.parent) == UInt64(index) {
            #expect(child.map { UInt64(rule.note(of: $0).index) } == owner)
          } else {
            #expect(child == nil)
          }
        }
      }
    }
  }

  @Test("knows the part of the order that a child's keys are in, and these do not overlap")
  func orders() {
    var random = SeededRandom(seed: 2)
    for shape in Self.shapes where shape.multiple.nonzeroBitCount == 1 {
      let rule = SplitRule(
        parent: ShardNote(index: shape.parent - 1, count: shape.parent, hash: .fnv1),
        count: shape.parent * shape.multiple, frameTimeMilliseconds: 0)
      #expect(rule.isContiguous)
      let parts = (0..<rule.children).map { rule.orders(of: $0) }
      for (number, part) in parts.enumerated() {
        for other in parts[(number + 1)...] { #expect(!part.overlaps(other)) }
      }
      for _ in 0..<1_000 {
        let order = KeyOrder(shardHash: random.next())
        guard let child = rule.child(of: order) else { continue }
        #expect(parts.map { $0.contains(order.number) }.firstIndex(of: true) == child)
      }
    }
  }
}
