/// A file's bytes, in memory and on the platter.
final class Inode {
  enum Change {
    case write(offset: Int, bytes: [UInt8])
    case grow(Int)
  }

  /// What a running system reads.
  private(set) var live: [UInt8] = []
  /// What is there after a power loss if nothing of `unsynced` made it.
  private(set) var durable: [UInt8] = []
  private(set) var unsynced: [Change] = []
  /// What the sync before the last one left; for the mutant whose syncs come late.
  private var lateChanges: [Change] = []
  var exclusiveHolder: ObjectIdentifier?
  var sharedHolders: Set<ObjectIdentifier> = []
  /// 4 KiB pages with space of their own, where space is not reserved ahead.
  var pages: Set<Int> = []

  func apply(_ change: Change) {
    Self.apply(change, to: &live)
    unsynced.append(change)
  }

  private static func apply(_ change: Change, to bytes: inout [UInt8]) {
    switch change {
    case .grow(let size):
      if size > bytes.count { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
    case .write(let offset, let new):
      let end = offset + new.count
      if end > bytes.count { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
      bytes.replaceSubrange(offset..<end, with: new)
    }
  }

  func sync() {
    for change in lateChanges + unsynced { Self.apply(change, to: &durable) }
    unsynced = []
    lateChanges = []
  }

  /// What a writer sees that answers before its sync is done: only the sync before last counts.
  func syncLate() {
    for change in lateChanges { Self.apply(change, to: &durable) }
    lateChanges = unsynced
    unsynced = []
  }

  /// A sync that fails: some of the changes made it, and the system forgets about the others. It may
  /// go on to show them, or drop the pages and show what is on the disk.
  func failSync(_ random: inout SeededRandom) {
    settle(&random)
    if random.once(in: 3) { live = durable }
  }

  /// The power goes: what was not synced made it, or not, whole, torn, in any order.
  func losePower(_ random: inout SeededRandom) {
    settle(&random)
    live = durable
  }

  private func settle(_ random: inout SeededRandom) {
    let changes = lateChanges + unsynced
    unsynced = []
    lateChanges = []
    guard !changes.isEmpty else { return }
    switch random.below(4) {
    case 0: break
    case 1: for change in changes { Self.apply(change, to: &durable) }
    case 2:
      let count = random.below(changes.count + 1)
      for change in changes[..<count] { Self.apply(change, to: &durable) }
      if count < changes.count { tear(changes[count], &random) }
    default:
      for change in changes {
        switch random.below(3) {
        case 0: Self.apply(change, to: &durable)
        case 1: tear(change, &random)
        default: break
        }
      }
    }
  }

  private func tear(_ change: Change, _ random: inout SeededRandom) {
    guard case .write(let offset, let bytes) = change, !bytes.isEmpty else { return }
    if random.once(in: 2) {
      // At any byte, from either end.
      let cut = random.below(bytes.count + 1)
      if random.once(in: 4) {
        Self.apply(
          .write(offset: offset + cut, bytes: Array(bytes[cut...])), to: &durable)
      } else {
        Self.apply(.write(offset: offset, bytes: Array(bytes[..<cut])), to: &durable)
      }
      return
    }
    // Sector by sector.
    var start = 0
    while start < bytes.count {
      let end = min(bytes.count, (offset + start) / 512 * 512 + 512 - offset)
      if random.once(in: 2) {
        Self.apply(.write(offset: offset + start, bytes: Array(bytes[start..<end])), to: &durable)
      }
      start = end
    }
  }
}
