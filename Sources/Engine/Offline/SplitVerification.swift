import WAL

/// Proves that children of a split are disjoint, and that they are together what was split, by reading
/// everything again from the disk.
package struct SplitVerification {
  private let rule: SplitRule
  private let fileSystem: any FileSystem
  private let pace: Pace

  package init(rule: SplitRule, fileSystem: any FileSystem, pace: Pace) {
    self.rule = rule
    self.fileSystem = fileSystem
    self.pace = pace
  }

  /// First each child by itself, and the sums of the digests; then entry by entry, all children
  /// beside the parent.
  ///
  /// - Parameters:
  ///   - source: what was split; nil for the empty state.
  ///   - children: the paths of the children's snapshots.
  ///   - leftOut: what of the source went to none of them.
  /// - Throws: `invalidFile`, with what is wrong; `cancelled`; that of a system call.
  package func run(
    _ source: SnapshotFile?, _ children: [String], leftOut: LeftOut
  ) throws(WALError) {
    var files: [SnapshotFile] = []
    var result = SplitResult(children: children.count)
    for (child, path) in children.enumerated() {
      let file = try SnapshotFile(path, fileSystem: fileSystem)
      let note = rule.note(of: child)
      guard
        note
          == ShardNote(
            index: file.header.shardIndex, count: file.header.shardCount, hash: file.header.hash)
      else { throw .invalidFile(path: path, offset: 0, reason: "it is not of \(note)") }
      try SnapshotCheck.run(file, pace: pace)
      result.footers[child] = file.footer
      files.append(file)
    }
    result.leftOut = leftOut
    guard result.isWhole(source?.footer ?? SnapshotFooter()) else {
      throw .invalidFile(
        path: source?.path ?? children[0], offset: 0,
        reason: "the children's keys, bytes and digests are not together those of the parent")
    }
    let found = try expectAll(source, files)
    guard found == leftOut else {
      throw .invalidFile(
        path: source?.path ?? children[0], offset: 0,
        reason: "what belongs to no child is not the same again")
    }
  }

  /// Steps through all of them at once: each of the parent's entries has to be the next one of the
  /// child that it belongs to, so that nothing is missing, changed, or in two of them; and at the end
  /// no child has one more.
  ///
  /// - Returns: what of the parent belongs to none.
  private func expectAll(
    _ source: SnapshotFile?, _ files: [SnapshotFile]
  ) throws(WALError) -> LeftOut {
    var leftOut = LeftOut()
    var children: [SnapshotSource] = []
    for file in files { children.append(try SnapshotSource(file, pace: pace)) }
    if let source {
      var blocks = SnapshotBlocks(source)
      for (number, block) in source.footer.blocks.enumerated() {
        try blocks.load(number)
        try pace.spent(Int(block.fileBytes))
        while let entry = try blocks.next() {
          let hasExpired = rule.hasExpired(entry.record)
          guard let child = rule.child(of: entry.order), !hasExpired else {
            leftOut.add(entry, hasExpired: hasExpired)
            continue
          }
          let bytes = UnsafeRawBufferPointer(rebasing: blocks.bytes[entry.bytes])
          try expect(entry, bytes, children[child], files[child].path)
        }
      }
    }
    for (child, rest) in children.enumerated() where rest.order != nil {
      throw .invalidFile(
        path: files[child].path, offset: 0,
        reason: "it has a key with version \(rest.version) that the parent does not have")
    }
    return leftOut
  }

  private func expect(
    _ entry: SnapshotEntry, _ bytes: UnsafeRawBufferPointer, _ child: SnapshotSource,
    _ path: String
  ) throws(WALError) {
    guard child.order == entry.order, child.version == entry.version,
      compare(try child.record().bytes, bytes) == 0
    else {
      throw .invalidFile(
        path: path, offset: 0,
        reason: "the parent's key with version \(entry.version) is missing in it, or is another")
    }
    try child.advance()
  }
}
