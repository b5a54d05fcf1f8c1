#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// When operations of an open loop are to start, whether or not earlier ones are done.
///
/// Times are computed one after the other and kept by nobody: what is due and cannot be sent yet keeps
/// its time, however long that takes, and takes no memory.
public struct ArrivalSchedule: Sendable {
  public enum Spacing: String, Sendable, CaseIterable {
    /// The same time between any two.
    case uniform
    /// Exponentially distributed times, as of many clients that know nothing of each other.
    case poisson
  }

  private let spacing: Spacing
  private let start: UInt64
  private let intervalNanoseconds: Double
  /// From `start` to the next one.
  private var offsetNanoseconds: Double
  private var index: UInt64 = 0
  private let phase: Double

  /// - Parameters:
  ///   - rate: operations a second.
  ///   - phase: where in the first interval the first one is, from 0 up to 1.
  package init(_ spacing: Spacing, rate: Double, start: UInt64, phase: Double = 0) {
    self.spacing = spacing
    self.start = start
    self.phase = phase
    intervalNanoseconds = 1e9 / rate
    offsetNanoseconds = intervalNanoseconds * phase
  }

  /// When the next operation is to start, in nanoseconds of the monotonic clock.
  package var next: UInt64 { start + UInt64(offsetNanoseconds) }

  package mutating func advance(_ random: inout RandomSource) {
    switch spacing {
    case .uniform:
      // Not a sum, whose rounding errors would grow.
      index += 1
      offsetNanoseconds = (Double(index) + phase) * intervalNanoseconds
    case .poisson: offsetNanoseconds -= log(1 - random.unit()) * intervalNanoseconds
    }
  }
}
