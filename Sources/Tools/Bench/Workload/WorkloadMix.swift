/// Which part of the operations is of which kind. The parts add up to 1.
public struct WorkloadMix: Sendable, Equatable {
  public var reads = 0.0
  public var updates = 0.0
  public var inserts = 0.0
  public var scans = 0.0
  public var readModifyWrites = 0.0

  /// Reads, and writes of keys that are there.
  public init(writeRatio: Double) {
    reads = 1 - writeRatio
    updates = writeRatio
  }

  /// The core workloads of YCSB (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB",
  /// SoCC 2010), `a` to `f`; nil for any other name.
  public init?(ycsb name: String) {
    switch name {
    case "a": (reads, updates) = (0.5, 0.5)
    case "b": (reads, updates) = (0.95, 0.05)
    case "c": reads = 1
    case "d": (reads, inserts) = (0.95, 0.05)
    case "e": (scans, inserts) = (0.95, 0.05)
    case "f": (reads, readModifyWrites) = (0.5, 0.5)
    default: return nil
    }
  }

  public var hasReads: Bool { reads > 0 || readModifyWrites > 0 }
  public var hasWrites: Bool { updates > 0 || inserts > 0 || readModifyWrites > 0 }

  /// The kind of the next operation.
  func next(_ random: inout RandomSource) -> Exchange.Kind {
    var place = random.unit()
    if place < reads { return .read }
    place -= reads
    if place < updates { return .update }
    place -= updates
    if place < inserts { return .insert }
    place -= inserts
    if place < scans { return .scan }
    if readModifyWrites > 0 { return .modifyRead }
    // What rounding has left over.
    return updates > 0 ? .update : inserts > 0 ? .insert : .read
  }

  /// For a person: `95 % reads, 5 % inserts`.
  public var text: String {
    let parts = [
      (reads, "reads"), (updates, "updates"), (inserts, "inserts"), (scans, "scans"),
      (readModifyWrites, "read-modify-writes"),
    ]
    return parts.filter { $0.0 > 0 }.map { part, name in
      "\(FixedText.trimmed(part * 100, places: 3)) % \(name)"
    }.joined(separator: ", ")
  }
}
