import ArgumentParser
import WAL

/// The names of the record types.
enum TypeName: String, CaseIterable, ExpressibleByArgument {
  case put, delete, purge, epoch, handoff, mark

  var type: RecordType {
    switch self {
    case .put: .put
    case .delete: .delete
    case .purge: .purge
    case .epoch: .epoch
    case .handoff: .handoff
    case .mark: .mark
    }
  }
}

extension RecordType {
  var name: StaticString {
    switch self {
    case .put: "put"
    case .delete: "delete"
    case .purge: "purge"
    case .epoch: "epoch"
    case .handoff: "handoff"
    case .mark: "mark"
    }
  }
}

/// Which records are wanted: those that pass every condition that was given.
struct RecordFilter {
  var from: UInt64 = 0
  var to: UInt64 = .max
  var key: [UInt8]?
  var prefix: [UInt8]?
  /// Empty for all.
  var types: Set<RecordType> = []

  var isByContent: Bool { key != nil || prefix != nil || !types.isEmpty }

  @inline(__always)
  func admits(_ record: Record, _ sequence: UInt64, _ bytes: RawSpan) -> Bool {
    guard sequence >= from, sequence <= to else { return false }
    return !isByContent || admitsContent(record, bytes)
  }

  private func admitsContent(_ record: Record, _ bytes: RawSpan) -> Bool {
    if !types.isEmpty, !types.contains(record.type) { return false }
    if key == nil, prefix == nil { return true }
    return bytes.extracting(record.key).withUnsafeBytes { found in
      if let key, !found.elementsEqual(key) { return false }
      if let prefix, !found.starts(with: prefix) { return false }
      return true
    }
  }
}
