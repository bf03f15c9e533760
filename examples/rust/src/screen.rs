//! Drawing the board in a terminal.

use crate::board::Board;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::Line,
    widgets::{Block, Gauge, List, ListItem, ListState, Paragraph, Sparkline},
};
use wardline::model::alert::{AlertStatus, Severity};

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, board: &Board) {
    let [head, middle, lower, hints] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Percentage(55),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [alerts, gauges] =
        Layout::horizontal([Constraint::Percentage(60), Constraint::Fill(1)]).areas(middle);
    let [log, people, video] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(22), Constraint::Length(44)])
            .areas(lower);
    let counts: Vec<_> =
        board.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let gaps = if board.gaps == 0 { "no gaps".to_owned() } else { format!("{} GAPS", board.gaps) };
    frame.render_widget(
        Line::from(format!(" Wardline · {} · {} · {gaps}", board.connection, counts.join(" · ")))
            .bold(),
        head,
    );
    draw_alerts(frame, alerts, board);
    draw_gauges(frame, gauges, board);
    let lines = board.lines.iter().rev().take(usize::from(log.height.saturating_sub(2)));
    frame.render_widget(
        List::new(lines.map(|line| ListItem::new(line.as_str())).collect::<Vec<_>>())
            .block(Block::bordered().title(" What happened ")),
        log,
    );
    let people_lines =
        board.present.iter().map(|(user, status)| ListItem::new(format!("{user}: {status}")));
    frame.render_widget(
        List::new(people_lines.collect::<Vec<_>>()).block(Block::bordered().title(" Present ")),
        people,
    );
    let mut rows: Vec<Line<'_>> = board
        .video
        .iter()
        .map(|(camera, seen)| {
            Line::from(format!(
                "{camera}: {} seen, {} skipped, {} KB",
                seen.pictures,
                seen.skipped,
                seen.bytes / 1024
            ))
        })
        .collect();
    rows.extend(board.assets.values().map(|asset| {
        Line::from(format!("{}: {:.5}, {:.5}", asset.asset_id, asset.latitude, asset.longitude))
    }));
    frame.render_widget(
        Paragraph::new(rows).block(Block::bordered().title(" Cameras and assets ")),
        video,
    );
    frame.render_widget(
        Line::from(
            " ↑↓ choose alert · a acknowledge · r resolve · n new alert · s start / stop stream · q quit",
        )
        .style(Style::new().fg(Color::DarkGray)),
        hints,
    );
}

fn draw_alerts(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let items: Vec<_> = board
        .alerts
        .iter()
        .map(|alert| {
            let colour = match alert.severity {
                Severity::Critical => Color::Red,
                Severity::High => Color::LightRed,
                Severity::Medium => Color::Yellow,
                _ => Color::Gray,
            };
            let mark = match alert.status {
                AlertStatus::Acknowledged => "✓",
                AlertStatus::Resolved => "·",
                _ => "!",
            };
            let style = if alert.status == AlertStatus::Resolved {
                Style::new().fg(Color::DarkGray)
            } else {
                Style::new().fg(colour)
            };
            ListItem::new(format!("{mark} {:<9} {}", alert.severity.as_str(), alert.title))
                .style(style)
        })
        .collect();
    let mut state = ListState::default().with_selected(Some(board.selected));
    frame.render_stateful_widget(
        List::new(items)
            .block(
                Block::bordered().title(format!(" Alerts: {} open ", board.open_alerts().count())),
            )
            .highlight_style(Style::new().add_modifier(Modifier::REVERSED)),
        area,
        &mut state,
    );
}

fn draw_gauges(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let block = Block::bordered().title(" This machine ");
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let [cpu, memory, disk, network, curve] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(inside);
    let Some(metrics) = &board.metrics else {
        frame.render_widget(Line::from("waiting for the first reading …"), cpu);
        return;
    };
    for (name, value, area) in [
        ("cpu", metrics.cpu, cpu),
        ("memory", metrics.memory, memory),
        ("disk", metrics.disk, disk),
    ] {
        let value = value.unwrap_or(0.0);
        frame.render_widget(
            Gauge::default()
                .ratio((value / 100.0).clamp(0.0, 1.0))
                .label(format!("{name} {value:.1} %"))
                .gauge_style(Style::new().fg(Color::Cyan).bg(Color::Black)),
            area,
        );
    }
    let (down, up) = (metrics.network_in.unwrap_or(0.0), metrics.network_out.unwrap_or(0.0));
    frame.render_widget(
        Line::from(format!("network {:.1} KB/s in, {:.1} KB/s out", down / 1024.0, up / 1024.0)),
        network,
    );
    let data: Vec<u64> = board.cpu.iter().copied().collect();
    frame.render_widget(
        Sparkline::default().data(&data).max(100).style(Style::new().fg(Color::Cyan)),
        curve,
    );
}
