//! Istio's published walk-throughs on Bookinfo: request routing, traffic shifting, fault injection.

use std::time::Duration;

use anyhow::ensure;

use super::{LIVE_WITHIN, Mesh, Test};
use crate::bookinfo::{Stars, page, page_of, stars, visit};
use crate::deadline::{eventually, eventually_true};
use crate::http::send_blocking;
use crate::load::Load;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "bookinfo::shows_all_three_versions",
        shows_all_three_versions,
    ),
    (
        "bookinfo::all_v1_is_live_within_2_s",
        all_v1_is_live_within_2_s,
    ),
    ("bookinfo::routes_by_user", routes_by_user),
    ("bookinfo::shifts_traffic_80_20", shifts_traffic_80_20),
    (
        "bookinfo::delays_ratings_for_one_user",
        delays_ratings_for_one_user,
    ),
    (
        "bookinfo::aborts_ratings_for_one_user",
        aborts_ratings_for_one_user,
    ),
    ("bookinfo::times_reviews_out", times_reviews_out),
    (
        "bookinfo::changes_routes_without_losing_a_request",
        changes_routes_without_losing_a_request,
    ),
];

fn shows_all_three_versions(mesh: &Mesh) -> anyhow::Result<()> {
    // The page answers as soon as its own parts do; ratings may be ready a moment later.
    eventually("all three versions", LIVE_WITHIN * 5, || {
        let seen = visit(mesh.platform.ingress(), &page(), 30)?;
        for version in [Stars::None, Stars::Black, Stars::Red] {
            ensure!(
                seen.contains(&version),
                "of 30 pages none showed {version:?}: {seen:?}"
            );
        }
        Ok(())
    })
}

fn all_v1_is_live_within_2_s(mesh: &Mesh) -> anyhow::Result<()> {
    mesh.with_file(&mesh.networking("virtual-service-all-v1.yaml"), || {
        std::thread::sleep(LIVE_WITHIN);
        let seen = visit(mesh.platform.ingress(), &page(), 100)?;
        ensure!(
            seen.iter().all(|stars| *stars == Stars::None),
            "not all of 100 pages were v1's: {seen:?}"
        );
        Ok(())
    })
}

fn routes_by_user(mesh: &Mesh) -> anyhow::Result<()> {
    let ingress = mesh.platform.ingress();
    mesh.with_file(
        &mesh.networking("virtual-service-reviews-test-v2.yaml"),
        || {
            let jason = page_of(ingress, "jason")?;
            std::thread::sleep(LIVE_WITHIN);
            let his = visit(ingress, &jason, 20)?;
            ensure!(
                his.iter().all(|stars| *stars == Stars::Black),
                "jason saw {his:?}"
            );
            let others = visit(ingress, &page(), 20)?;
            ensure!(
                others.iter().all(|stars| *stars == Stars::None),
                "everyone else saw {others:?}"
            );
            let kate = visit(ingress, &page_of(ingress, "kate")?, 5)?;
            ensure!(
                kate.iter().all(|stars| *stars == Stars::None),
                "kate saw {kate:?}"
            );
            Ok(())
        },
    )
}

fn shifts_traffic_80_20(mesh: &Mesh) -> anyhow::Result<()> {
    mesh.with_file(
        &mesh.networking("virtual-service-reviews-80-20.yaml"),
        || {
            std::thread::sleep(LIVE_WITHIN);
            let seen = visit(mesh.platform.ingress(), &page(), 1_000)?;
            let black = seen.iter().filter(|stars| **stars == Stars::Black).count();
            let none = seen.iter().filter(|stars| **stars == Stars::None).count();
            ensure!(
                none + black == 1_000,
                "some pages were neither v1's nor v2's"
            );
            ensure!(
                (150..=250).contains(&black),
                "{black} of 1,000 pages were v2's, not 20 % +-5 points"
            );
            Ok(())
        },
    )
}

fn delays_ratings_for_one_user(mesh: &Mesh) -> anyhow::Result<()> {
    let ingress = mesh.platform.ingress();
    mesh.platform
        .apply(&mesh.networking("virtual-service-all-v1.yaml"))?;
    mesh.platform
        .apply(&mesh.networking("virtual-service-reviews-test-v2.yaml"))?;
    let delayed = mesh.with_file(
        &mesh.networking("virtual-service-ratings-test-delay.yaml"),
        || {
            let jason = page_of(ingress, "jason")?;
            std::thread::sleep(LIVE_WITHIN);
            let answer = send_blocking(ingress, &jason)?;
            let shown = stars(&answer)?;
            ensure!(shown == Stars::ReviewsUnavailable, "jason saw {shown:?}");
            let took = answer.took.as_secs_f64();
            ensure!(
                (5.5..7.0).contains(&took),
                "jason's page took {took:.1} s, not about 6 s"
            );
            let answer = send_blocking(ingress, &page())?;
            ensure!(
                stars(&answer)? == Stars::None,
                "others saw {:?}",
                stars(&answer)?
            );
            ensure!(
                answer.took < Duration::from_secs(1),
                "the others' page took {:?}",
                answer.took
            );
            Ok(())
        },
    );
    mesh.platform
        .delete(&mesh.networking("virtual-service-all-v1.yaml"))?;
    delayed
}

fn aborts_ratings_for_one_user(mesh: &Mesh) -> anyhow::Result<()> {
    let ingress = mesh.platform.ingress();
    mesh.with_file(
        &mesh.networking("virtual-service-reviews-test-v2.yaml"),
        || {
            mesh.with_file(
                &mesh.networking("virtual-service-ratings-test-abort.yaml"),
                || {
                    let jason = page_of(ingress, "jason")?;
                    std::thread::sleep(LIVE_WITHIN);
                    let his = visit(ingress, &jason, 5)?;
                    ensure!(
                        his.iter().all(|stars| *stars == Stars::RatingsUnavailable),
                        "jason saw {his:?}"
                    );
                    let others = visit(ingress, &page(), 5)?;
                    ensure!(
                        others.iter().all(|stars| *stars == Stars::None),
                        "others saw {others:?}"
                    );
                    Ok(())
                },
            )
        },
    )
}

fn times_reviews_out(mesh: &Mesh) -> anyhow::Result<()> {
    let ingress = mesh.platform.ingress();
    mesh.with_file(
        &mesh.networking("virtual-service-reviews-timeout.yaml"),
        || {
            mesh.with_file(
                &mesh.networking("virtual-service-ratings-delay-2s.yaml"),
                || {
                    std::thread::sleep(LIVE_WITHIN);
                    let answer = send_blocking(ingress, &page())?;
                    let shown = stars(&answer)?;
                    ensure!(
                        shown == Stars::ReviewsUnavailable,
                        "the page showed {shown:?}"
                    );
                    // productpage asks twice: two timeouts of half a second each.
                    let took = answer.took.as_secs_f64();
                    ensure!(
                        (0.9..1.9).contains(&took),
                        "the page took {took:.2} s, not about 1 s"
                    );
                    Ok(())
                },
            )
        },
    )
}

fn changes_routes_without_losing_a_request(mesh: &Mesh) -> anyhow::Result<()> {
    let ingress = mesh.platform.ingress();
    let load = Load::start(ingress, page(), 50, crate::bookinfo::whole_page);
    let changed = || -> anyhow::Result<()> {
        for (file, wanted) in [
            ("virtual-service-reviews-v3.yaml", Stars::Red),
            ("virtual-service-all-v1.yaml", Stars::None),
        ] {
            mesh.with_file(&mesh.networking(file), || {
                eventually_true(
                    &format!("only {wanted:?} after {file}"),
                    LIVE_WITHIN * 2,
                    || {
                        Ok(visit(ingress, &page(), 6)?
                            .iter()
                            .all(|stars| *stars == wanted))
                    },
                )
            })?;
        }
        Ok(())
    }();
    let outcome = load.finish()?;
    changed?;
    outcome.assert_none_failed()
}
