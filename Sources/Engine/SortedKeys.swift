/// A set of keys in ascending order of their bytes: a B+ tree (Comer, "The Ubiquitous B-Tree", ACM
/// Computing Surveys 11, 1979) with separators cut to what they need (Bayer and Unterauer, "Prefix
/// B-Trees", ACM TODS 2, 1977).
///
/// Adding, removing and finding take O(log n). Memory is that of the keys and about 6 bytes each.
///
/// `@unchecked Sendable`: it alone refers to its nodes, so whoever has it has them.
struct SortedKeys: ~Copyable, @unchecked Sendable {
  /// A node is cut above this, unless it has too few keys.
  private static let nodeBytesMax = 4_096
  /// A node below this is joined with a neighbour, if what comes of it is at most `joinedBytesMax`.
  private static let nodeBytesMin = 1_024
  private static let joinedBytesMax = 3_072

  // Invariants: a leaf has no children, and at least one key. An inner node has one child more than
  // separators; what is in child i is below separator i, and not below separator i - 1.
  private final class Node {
    var block: KeyBlock
    var children: [Node]

    init(_ block: consuming KeyBlock, children: [Node] = []) {
      self.block = block
      self.children = children
    }

    var isLeaf: Bool { children.isEmpty }
    /// Only while a key is being removed.
    var isVacant: Bool {
      isLeaf ? block.count == 0 : children.count == 1 && children[0].isVacant
    }
    /// With what malloc and the objects add.
    var memoryBytes: Int {
      96 + block.capacity + (isLeaf ? 0 : 48 + 8 * children.capacity)
    }
  }

  /// What a node that was cut leaves to its parent.
  private struct Cut {
    let separator: [UInt8]
    let upper: Node
  }

  private var root: Node?
  private(set) var count = 0
  /// What it all takes.
  private(set) var memoryBytes = 0

  // MARK: - Adding

  /// - Returns: false when the key was there already.
  @discardableResult
  mutating func insert(_ key: UnsafeRawBufferPointer) -> Bool {
    let before = count
    let root = root ?? made(Node(KeyBlock()))
    self.root = root
    if let cut = insert(key, into: root) {
      var block = KeyBlock()
      cut.separator.withUnsafeBytes { block.append($0) }
      self.root = made(Node(block, children: [root, cut.upper]))
    }
    return count > before
  }

  private mutating func insert(_ key: UnsafeRawBufferPointer, into node: Node) -> Cut? {
    guard !node.isLeaf else {
      let index = node.block.lowerBound(key)
      if index < node.block.count, isEqual(node.block[index], key) { return nil }
      count += 1
      change(node) { $0.block.insert(key, at: index) }
      guard node.block.liveBytes > Self.nodeBytesMax, node.block.count > 1 else { return nil }
      // Where keys come in order, what is behind them is full.
      let isLast = index == node.block.count - 1
      return cutLeaf(node, at: isLast ? index : node.block.middle(atMost: node.block.count - 1))
    }
    let place = node.block.upperBound(key)
    guard let cut = insert(key, into: node.children[place]) else { return nil }
    change(node) { node in
      cut.separator.withUnsafeBytes { node.block.insert($0, at: place) }
      node.children.insert(cut.upper, at: place + 1)
    }
    // Either half needs a separator, and one goes up.
    guard node.block.liveBytes > Self.nodeBytesMax, node.block.count > 2 else { return nil }
    return cutInner(node)
  }

  private mutating func cutLeaf(_ node: Node, at index: Int) -> Cut {
    let separator = Self.separator(node.block[index - 1], node.block[index])
    var upper: Node?
    change(node) { upper = Node($0.block.split(at: index)) }
    return Cut(separator: separator, upper: made(upper!))
  }

  private mutating func cutInner(_ node: Node) -> Cut {
    let index = node.block.middle(atMost: node.block.count - 2)
    let separator = Array(node.block[index])
    var upper: Node?
    change(node) { node in
      let block = node.block.split(at: index + 1)
      node.block.remove(at: index)
      upper = Node(block, children: Array(node.children[(index + 1)...]))
      node.children = Array(node.children[...index])
    }
    return Cut(separator: separator, upper: made(upper!))
  }

  /// The shortest string above `low` and not above `high`.
  private static func separator(
    _ low: UnsafeRawBufferPointer, _ high: UnsafeRawBufferPointer
  ) -> [UInt8] {
    let common = zip(low, high).prefix { $0 == $1 }.count
    return Array(high.prefix(common + 1))
  }

  // MARK: - Removing

  /// - Returns: false when there is no such key.
  @discardableResult
  mutating func remove(_ key: UnsafeRawBufferPointer) -> Bool {
    guard let root, remove(key, from: root) else { return false }
    count -= 1
    if count == 0 {
      memoryBytes = 0
      self.root = nil
    }
    while let root = self.root, root.children.count == 1 {
      memoryBytes -= root.memoryBytes
      self.root = root.children[0]
    }
    return true
  }

  private mutating func remove(_ key: UnsafeRawBufferPointer, from node: Node) -> Bool {
    guard !node.isLeaf else {
      let index = node.block.lowerBound(key)
      guard index < node.block.count, isEqual(node.block[index], key) else { return false }
      change(node) { $0.block.remove(at: index) }
      return true
    }
    let place = node.block.upperBound(key)
    guard remove(key, from: node.children[place]) else { return false }
    let child = node.children[place]
    guard node.children.count > 1 else { return true }
    if child.isVacant {
      drop(place, of: node)
    } else if child.block.liveBytes < Self.nodeBytesMin {
      join(max(place - 1, 0), of: node)
    }
    return true
  }

  /// Takes out a child that is vacant; not the only one.
  private mutating func drop(_ place: Int, of node: Node) {
    var vacant: Node? = node.children[place]
    while let node = vacant {
      memoryBytes -= node.memoryBytes
      vacant = node.children.first
    }
    change(node) { node in
      node.children.remove(at: place)
      node.block.remove(at: max(place - 1, 0))
    }
  }

  /// Makes one of a child and the next one, if that is not too large.
  private mutating func join(_ place: Int, of node: Node) {
    let (lower, upper) = (node.children[place], node.children[place + 1])
    let separatorBytes =
      lower.isLeaf ? 0 : node.block[place].count + KeyBlock.overheadBytes
    guard
      lower.block.liveBytes + separatorBytes + upper.block.liveBytes <= Self.joinedBytesMax
    else { return }
    memoryBytes -= upper.memoryBytes
    change(lower) { lower in
      if !lower.isLeaf { lower.block.append(node.block[place]) }
      lower.block.append(upper.block)
      lower.children += upper.children
    }
    change(node) { node in
      node.children.remove(at: place + 1)
      node.block.remove(at: place)
    }
  }

  // MARK: - Memory

  private mutating func made(_ node: Node) -> Node {
    memoryBytes += node.memoryBytes
    return node
  }

  @inline(__always)
  private mutating func change(_ node: Node, _ body: (Node) -> Void) {
    memoryBytes -= node.memoryBytes
    body(node)
    memoryBytes += node.memoryBytes
  }

  // MARK: - Reading

  /// Appends the next keys, as many as stand together: some, unless there are none. So whoever
  /// reads all of them looks again from the last one on, and need not keep others out meanwhile.
  ///
  /// - Parameters:
  ///   - start: where to begin; itself included when it `isIncluded`.
  ///   - end: keys at or above it are passed over; nil for all.
  func copy(
    from start: UnsafeRawBufferPointer, isIncluded: Bool, to end: UnsafeRawBufferPointer?,
    into run: inout KeyRun
  ) {
    guard let root else { return }
    _ = Self.copy(root, from: start, isIncluded: isIncluded, to: end, into: &run)
  }

  /// - Returns: false when no key of the node is behind `start`.
  private static func copy(
    _ node: Node, from start: UnsafeRawBufferPointer, isIncluded: Bool,
    to end: UnsafeRawBufferPointer?, into run: inout KeyRun
  ) -> Bool {
    guard node.isLeaf else {
      for place in node.block.upperBound(start)..<node.children.count {
        let child = node.children[place]
        if copy(child, from: start, isIncluded: isIncluded, to: end, into: &run) { return true }
      }
      return false
    }
    let first = isIncluded ? node.block.lowerBound(start) : node.block.upperBound(start)
    guard first < node.block.count else { return false }
    for index in first..<node.block.count {
      let key = node.block[index]
      if let end, order(key, end) >= 0 { break }
      run.append(key)
    }
    return true
  }
}
