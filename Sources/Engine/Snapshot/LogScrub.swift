import WAL

/// Reads log that a snapshot covers: it is there for readers, and for the older snapshot. What is
/// damaged is put away now rather than met in need.
struct LogScrub {
  let log: SnapshotLog
  let fileSystem: any FileSystem
  let pace: Pace

  /// - Parameters:
  ///   - heal: called where something is damaged; true when it is whole again.
  ///   - quarantined: called with where damaged segments are now, and why.
  /// - Throws: `cancelled`; that of a system call.
  func run(
    coveredBy sequence: UInt64, heal: () throws(WALError) -> Bool,
    quarantined: (_ paths: [String], _ error: WALError) -> Void
  ) throws(WALError) {
    for (segment, last) in try log.segments(coveredBy: sequence) {
      guard let damage = try damage(in: segment, last: last) else { continue }
      if try heal() { continue }
      let moved = try log.quarantine(segmentFrom: segment.firstSequence!)
      if !moved.isEmpty { quarantined(moved, damage) }
    }
  }

  private func damage(in segment: SegmentFile, last: UInt64) throws(WALError) -> WALError? {
    do {
      var reader = LogReader(files: [segment], fileSystem: fileSystem)
      // What is behind its last record means nothing once there is another segment.
      reader.limit = last
      while true {
        switch try reader.next() {
        case .frame(let header): try pace.spent(header.frameBytes)
        case .damage(let damage): return .damaged(damage)
        case .end:
          guard reader.end?.sequence != last else { return nil }
          return .invalidFile(
            path: segment.path, offset: reader.nextOffset,
            reason: "the end of the segment is missing")
        }
      }
    } catch {
      switch error {
      // Given up since it was listed: it is gone, or just becoming another segment.
      case _ where error.isNotFound: return nil
      case .locked: return nil
      default:
        guard error.isDamage else { throw error }
        return error
      }
    }
  }
}
