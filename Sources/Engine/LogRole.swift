import WAL

/// Whose the log is: a copy of another node's, or this node's to write. That changes between two
/// commits.
extension CommitterWork {
  mutating func lead(
    _ new: Epoch?, _ reason: EpochChange.Reason, _ epochs: EpochHistory
  ) throws(WALError) {
    precondition(new != nil || !log.owesEpoch && log.position.sequence > 0, "an epoch is owed")
    if let new {
      tellConfirmed()
      do throws(WALError) {
        let position = try log.startEpoch(new, reason: reason)
        epochs.begin(new, at: position.sequence)
      } catch {
        if !error.isFullDisk { fail(error) }
        throw error
      }
      endFrame()
      setApplied()
    }
    copies = nil
  }

  mutating func follow(_ epochs: EpochHistory) {
    copies = epochs
  }
}
