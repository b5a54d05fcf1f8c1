/// A run that is over.
public struct BenchResult: Sendable {
  /// Keys that were stored before it.
  package struct Loading: Sendable {
    package var keys: UInt64
    package var seconds: Double

    package init(keys: UInt64, seconds: Double) {
      self.keys = keys
      self.seconds = seconds
    }
  }

  package var parameters: BenchParameters
  package var targets: TargetMap
  package var descriptions: [NodeDescription]
  package var loading: Loading?
  package var measured: Measurements
  /// When the measurement began, seconds since 1970.
  package var startSeconds: Double
  package var isInterrupted = false

  package init(
    parameters: BenchParameters, targets: TargetMap, descriptions: [NodeDescription],
    loading: Loading?, measured: Measurements, startSeconds: Double, isInterrupted: Bool
  ) {
    self.parameters = parameters
    self.targets = targets
    self.descriptions = descriptions
    self.loading = loading
    self.measured = measured
    self.startSeconds = startSeconds
    self.isInterrupted = isInterrupted
  }

  /// What throughput is counted over: the time that was asked for, or until the last answer where a
  /// number of operations was.
  package var seconds: Double {
    guard parameters.operations != nil else { return Double(measured.windowNanoseconds) / 1e9 }
    guard measured.lastAnswer > measured.start else { return 0 }
    return Double(measured.lastAnswer - measured.start) / 1e9
  }

  /// Answers a second of reads, writes and scans. Those behind the end of the time are not in it.
  package var throughput: (reads: Double, writes: Double, scans: Double) {
    guard seconds > 0 else { return (0, 0, 0) }
    let counts: (UInt64, UInt64, UInt64) =
      parameters.operations == nil
      ? (measured.inTimeReads, measured.inTimeWrites, measured.inTimeScans)
      : (measured.reads.count, measured.writes.count, measured.scans.count)
    return (
      Double(counts.0) / seconds, Double(counts.1) / seconds, Double(counts.2) / seconds
    )
  }

  /// Processor time of the client for each request, nanoseconds; 0 when that is not known.
  package var processorNanosecondsPerRequest: Double {
    guard measured.requestsOfProcessorTime > 0 else { return 0 }
    return Double(measured.processorNanoseconds) / Double(measured.requestsOfProcessorTime)
  }

  /// The part of the time for which a thread of the client was at work.
  package var busyPart: Double {
    let time = Double(measured.windowNanoseconds) * Double(parameters.threads)
    return time > 0 ? min(1, Double(measured.processorNanoseconds) / time) : 0
  }

  /// Why the run is to be taken for a failure; nil when it is not.
  public var failure: String? {
    let kinds = measured.failureCounts.sorted { $0.key < $1.key }.map {
      "\($0.key.name) \(FixedText.count($0.value))"
    }
    let reasons = kinds.isEmpty ? "" : ": " + kinds.joined(separator: ", ")
    if measured.answered == 0, !isInterrupted {
      return measured.failed == 0 && measured.unsent == 0
        ? "nothing was asked for: the run was too short" : "no request succeeded\(reasons)"
    }
    if measured.gaveUp {
      return "gave up: nothing answered for \(FixedText.trimmed(2 * parameters.timeoutSeconds)) s, "
        + "\(FixedText.count(measured.unsent)) requests were not sent\(reasons)"
    }
    if measured.ranOutOfKeys {
      return "ended early: a run inserts at most \(InsertedKeys.countMax) keys"
    }
    return nil
  }
}
