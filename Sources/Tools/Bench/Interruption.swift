import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// SIGINT and SIGTERM: the first ends the run in order, the second ends the process.
public enum Interruption {
  private static let count = Atomic(0)

  public static func install() {
    // Made here, not in the handler.
    _ = count.load(ordering: .relaxed)
    for number in [SIGINT, SIGTERM] {
      signal(number) { _ in
        if Interruption.count.add(1, ordering: .relaxed).oldValue > 0 { _exit(130) }
      }
    }
  }

  public static var isRequested: Bool { count.load(ordering: .relaxed) > 0 }
}
