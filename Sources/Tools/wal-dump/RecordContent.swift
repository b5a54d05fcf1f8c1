import WAL

/// What a record is about.
enum RecordContent {
  case key
  case range(ShardRange)
  case epoch(EpochChange)
  case none

  init(_ record: Record, _ bytes: RawSpan) {
    do throws(FormatViolation) {
      switch record.type {
      case .put, .delete: self = .key
      case .purge, .handoff:
        self = .range(try ShardRange(parsing: bytes.extracting(record.value)))
      case .epoch: self = .epoch(try EpochChange(parsing: bytes.extracting(record.value)))
      case .mark: self = .none
      }
    } catch {
      // A range whose numbers contradict each other: nothing that could be shown.
      self = .none
    }
  }

  static func hashName(_ hash: UInt32) -> String {
    switch hash {
    case 1: "fnv1-64"
    case 2: "fnv1-64-mix"
    default: "\(hash)"
    }
  }

  static func reasonName(_ reason: EpochChange.Reason) -> String { "\(reason)" }
}
