import Sharding
import WAL

/// What applying one record did, for who does not see what is hidden.
package enum IndexChange {
  case created
  case replaced
  case removed
  case absent
  case purged(Int)
  /// A purge by a hash that is not known here: nothing was done.
  case unknownHash
  /// The record is not about keys.
  case none
}

extension Index {
  /// Applies one record: the same, whether it was just committed, or is replayed, or was shipped.
  ///
  /// - Parameters:
  ///   - bytes: what the record's offsets refer to.
  ///   - now: from when on a key is hidden, milliseconds since 1970. Changes what is returned, and
  ///     nothing else.
  @inline(__always)
  package func apply(
    _ record: Record, in bytes: UnsafeRawBufferPointer, _ hash: KeyHash, version: UInt64,
    now: UInt64 = 0
  ) -> IndexChange {
    switch record.type {
    case .put:
      let isReplaced = put(
        UnsafeRawBufferPointer(rebasing: bytes[record.key]),
        UnsafeRawBufferPointer(rebasing: bytes[record.value]), hash, version: version,
        expiry: record.metadata.expiryMilliseconds, now: now)
      return isReplaced ? .replaced : .created
    case .delete:
      let key = UnsafeRawBufferPointer(rebasing: bytes[record.key])
      noteRemoval(version, stripe: stripeNumber(hash))
      return remove(key, hash, now: now) ? .removed : .absent
    case .purge:
      let range = Self.range(UnsafeRawBufferPointer(rebasing: bytes[record.value]))
      guard let hash = ShardHash(rawValue: range.hash) else { return .unknownHash }
      for stripe in 0..<Self.stripeCount { noteRemoval(version, stripe: stripe) }
      return .purged(purge(keeping: range, by: hash))
    case .epoch, .handoff, .mark:
      return .none
    }
  }

  static func range(_ content: UnsafeRawBufferPointer) -> ShardRange {
    do {
      return try ShardRange(parsing: content.bytes)
    } catch {
      preconditionFailure("the log's reader lets no such record through: \(error)")
    }
  }
}
