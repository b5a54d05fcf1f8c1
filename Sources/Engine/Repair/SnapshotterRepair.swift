import WAL

/// What the snapshots' thread does about damage in files that do not change any more.
extension Snapshotter {
  /// Heals the sealed segments, where somebody has what is missing.
  ///
  /// - Returns: true when something was damaged, and nothing is any more.
  func heal(_ pace: Pace) throws(WALError) -> Bool {
    guard let sources = state.withLock({ $0.sources }) else { return false }
    let outcome = try SealedRepair(log: log, directory: place.directory, pace: pace).run(sources)
    for healed in outcome.healed { observer.observer?.healed(healed) }
    return !outcome.healed.isEmpty && outcome.unhealed.isEmpty
  }

  /// Reads everything that does not change any more.
  func repairNow() -> Result<RepairReport, WALError> {
    let pace = begin(0, factor: 8)
    defer { state.withLock { $0.pace = nil } }
    let sources = state.withLock { $0.sources } ?? { [] }
    var report = RepairReport()
    do {
      let outcome = try SealedRepair(log: log, directory: place.directory, pace: pace).run(sources)
      report.healed = outcome.healed
      report.checkedBytes = outcome.bytes
      for healed in outcome.healed { observer.observer?.healed(healed) }
      for unhealed in outcome.unhealed {
        let moved = try putAway(unhealed)
        report.left.append(unhealed)
        report.quarantined += moved.map { ($0, .damaged(unhealed.damage)) }
      }
      try checkSnapshots(&report)
    } catch {
      _ = fail(error)
      return .failure(error)
    }
    if !report.left.isEmpty || !report.quarantined.isEmpty { report.snapshot = newest }
    return .success(report)
  }

  /// Nobody has it: a snapshot from memory covers it, unless one does already.
  ///
  /// - Returns: where the damaged segments are now.
  private func putAway(_ unhealed: UnrepairedLog) throws(WALError) -> [String] {
    if unhealed.through.map({ $0 > newest?.sequence ?? 0 }) ?? true {
      _ = try log.sealedEnd()
      let sealed = try log.sealedSegments(behind: newest?.sequence ?? 0)
      _ = try make(sealed, because: .damaged(unhealed.damage)).get()
      return []
    }
    guard let first = SegmentName.firstSequence(lastComponent(unhealed.damage.path)) else {
      return []
    }
    let moved = try log.quarantine(segmentFrom: first)
    if !moved.isEmpty { observer.observer?.quarantined(moved, because: .damaged(unhealed.damage)) }
    return moved
  }

  /// Reads the snapshots; one that is damaged is replaced by a new one, made from memory.
  private func checkSnapshots(_ report: inout RepairReport) throws(WALError) {
    for info in snapshots {
      let pace = begin(info.bytes, factor: 8)
      var damage: WALError?
      do throws(WALError) {
        let file = try SnapshotFile(info.path, fileSystem: place.directory.fileSystem)
        try SnapshotCheck.run(file, pace: pace)
        report.checkedBytes += file.bytes
      } catch {
        guard error.isDamage || error.isNotFound else { throw error }
        damage = error
      }
      guard let damage else { continue }
      // First: the new one may have its name.
      if damage.isNotFound {
        report.quarantined.append((info.path, damage))
      } else {
        let quarantine = Quarantine(
          log.quarantineDirectory, fileSystem: place.directory.fileSystem)
        let moved = try quarantine.take(info.path)
        report.quarantined.append((moved, damage))
        observer.observer?.quarantined([moved], because: damage)
      }
      state.withLock { $0.snapshots.removeAll { $0.path == info.path } }
      _ = try log.sealedEnd()
      let sealed = try log.sealedSegments(behind: newest?.sequence ?? 0)
      _ = try make(sealed, because: damage, isPutAway: true).get()
    }
  }
}
