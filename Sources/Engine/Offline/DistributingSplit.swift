import WAL

/// Splits a snapshot entry by entry, in one pass: any number of children, whose keys need not stand
/// together. Each of them has a block of memory.
enum DistributingSplit {
  /// - Throws: `invalidFile` when the snapshot is damaged; `cancelled`; that of a system call.
  static func run(
    _ source: SnapshotFile, _ rule: SplitRule, _ plans: [SplitChild.Plan],
    fileSystem: any FileSystem, pace: Pace
  ) throws(WALError) -> SplitResult {
    var writers: [SnapshotWriter] = []
    do throws(WALError) {
      for plan in plans {
        writers.append(
          try SnapshotWriter(plan.header, path: plan.path, fileSystem: fileSystem, pace: pace))
      }
      return try distribute(source, rule, writers, pace)
    } catch {
      for writer in writers { writer.discard() }
      throw error
    }
  }

  private static func distribute(
    _ source: SnapshotFile, _ rule: SplitRule, _ writers: [SnapshotWriter], _ pace: Pace
  ) throws(WALError) -> SplitResult {
    var result = SplitResult(children: writers.count)
    var blocks = SnapshotBlocks(source)
    for (number, block) in source.footer.blocks.enumerated() {
      try blocks.load(number)
      try pace.spent(Int(block.fileBytes))
      while let entry = try blocks.next() {
        let hasExpired = rule.hasExpired(entry.record)
        guard let child = rule.child(of: entry.order), !hasExpired else {
          result.leftOut.add(entry, hasExpired: hasExpired)
          continue
        }
        try writers[child].append(SnapshotWriter.CopiedEntry(entry), in: blocks.bytes)
      }
      result.writtenBlocks += 1
    }
    for (child, writer) in writers.enumerated() { result.footers[child] = try writer.finish() }
    return result
  }
}
