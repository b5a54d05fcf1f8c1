/// Fills a key directory from an index, beside its readers and its writer.
///
/// Keys are copied out of a stripe a few slots at a time, so that its lock is never held for long;
/// sorted by the thousand, because neighbours are added in less time; and added. The writer adds and
/// removes meanwhile, too, behind the index: what it creates is in the directory whichever of the two
/// comes first. A key that it removes while this holds a copy might come back; so when anything was
/// removed since the copies were made, each is compared with the index, with its stripe's lock held:
/// the writer cannot create the key within that, and tells the directory of what it does afterwards.
struct KeyDirectoryBuild {
  /// Slots of a table that are looked at with the lock held once: as many keys, of 4 KiB at most, are
  /// copied in well under a millisecond.
  static let slotsPerLock = 128
  /// Keys that are sorted together, and bytes of these above which no more are added.
  private static let portionKeys = 64 << 10
  private static let portionBytes = 4 << 20

  private let index: Index
  private let directory: KeyDirectory
  private var portion = KeyRun()
  private var removals: UInt64 = 0

  init(_ index: Index, _ directory: KeyDirectory) {
    self.index = index
    self.directory = directory
    // Memory is not asked for with a lock held. It counts only once it is used.
    portion.reserveCapacity(
      keys: Self.portionKeys + 4 * Self.slotsPerLock, bytes: 2 * Self.portionBytes)
  }

  /// - Returns: whether the directory is whole.
  mutating func run() -> Bool {
    removals = directory.removals
    for stripe in 0..<Index.stripeCount {
      var next: UInt64? = 0
      while let start = next {
        guard !directory.isStopping else { return false }
        next = index.copyKeys(
          ofStripe: stripe, from: start, slots: Self.slotsPerLock, into: &portion)
        if portion.count >= Self.portionKeys || portion.bytes >= Self.portionBytes { add() }
      }
    }
    add()
    return true
  }

  private mutating func add() {
    portion.sort()
    directory.insert(portion)
    if directory.removals != removals { takeBackRemoved() }
    portion.removeAll()
    removals = directory.removals
  }

  private func takeBackRemoved() {
    portion.forEach(in: 0..<portion.count) { key in
      index.whileUnchanged(key) { isPresent in
        if !isPresent { directory.remove(key) }
      }
    }
  }
}
